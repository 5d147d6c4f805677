import { $, $$, on, text as said } from "./dom.js";

const SHOWN_MS = { ok: 5000, info: 6000, warn: 9000, error: 0 };
// Time to read, to decide and to get there.
const UNDO_MS = 15_000;
// A deletion takes seconds. Its event says when it is complete; that may be lost.
const UNDO_RETRY_MS = 20_000;
const UNDO_PATIENCE_MS = 120_000;

/** Draw the box of toasts again after one was added or removed. */
export function expose() {
  // A manual popover lies above open dialogs, so a refusal is seen there as well.
  const box = $("#toasts");
  if (!box) return null;
  if (box.matches(":popover-open")) box.hidePopover();
  if ($("[data-toast]", box)) box.showPopover();
  return box;
}

function close(toast) {
  toast.remove();
  expose();
}

function expire(toast, level) {
  const time = $("[data-undo]", toast) ? UNDO_MS : (SHOWN_MS[level] ?? 6000);
  // Errors stay until they are dismissed: they say what to do.
  if (!time) return;
  const end = () => {
    if (!toast.isConnected || toast.hasAttribute("data-waits")) return;
    if (toast.matches(":hover, :focus-within")) setTimeout(end, 3000);
    else close(toast);
  };
  setTimeout(end, time);
}

/** Do what the server says by HX-Trigger, as htmx would. */
function fire(response) {
  for (const [name, detail] of Object.entries(JSON.parse(response.headers.get("HX-Trigger") ?? "{}"))) {
    document.body.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** Wait for an event of a resource, or for some time. */
function eventOf(live, ms) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      document.body.removeEventListener("scloud:event", heard);
      resolve();
    };
    const heard = ({ detail }) => `${detail.resource_kind}:${detail.resource_id}` === live && done();
    const timer = setTimeout(done, ms);
    document.body.addEventListener("scloud:event", heard);
  });
}

/** Take back what a toast tells. What is not complete yet is waited for. */
async function undo(button) {
  const box = button.closest("[data-toast]");
  const { undo: url, undoLive: live } = button.dataset;
  const token = JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];
  box.setAttribute("data-waits", "");
  button.remove();
  const until = Date.now() + UNDO_PATIENCE_MS;
  while (Date.now() < until) {
    const changed = eventOf(live, UNDO_RETRY_MS);
    const answer = await fetch(url, {
      method: "POST",
      headers: { "X-CSRFToken": token, "HX-Request": "true" },
    }).catch(() => null);
    if (answer?.status === 204) {
      close(box);
      fire(answer);
      return;
    }
    if (answer?.status !== 404) break;
    $(".toast-body", box).textContent = said("undoWaits");
    expose();
    await changed;
  }
  close(box);
  toast({ text: said("undoFailed"), level: "error", remedy: said("undoRemedy") });
}

/** Show a message. level: ok, info, warn, error. */
export function toast({ text, level = "ok", remedy = "", undo: back = null }) {
  const box = $("#toasts");
  const template = $("#toast-template");
  if (!box || !template || !text) return;
  const element = template.content.firstElementChild.cloneNode(true);
  element.classList.add(`toast-${level}`);
  const wanted = level === "ok" || level === "info" ? level : "alert";
  for (const icon of $$("[data-toast-icon]", element)) {
    if (icon.dataset.toastIcon === wanted) icon.replaceWith(...icon.childNodes);
    else icon.remove();
  }
  $("[data-toast-text]", element).textContent = text;
  $("[data-toast-remedy]", element).textContent = remedy;
  const button = $("[data-undo]", element);
  if (back) Object.assign(button.dataset, { undo: back.url, undoLive: back.live });
  else button.remove();
  if (level === "error") element.setAttribute("role", "alert");
  box.append(element);
  while (box.children.length > 4) box.firstElementChild.remove();
  expose();
  expire(element, level);
}

export function startToasts() {
  for (const element of $$("#toasts [data-toast]")) {
    expire(element, element.classList.contains("toast-error") ? "error" : "ok");
  }
  expose();
  on("click", "[data-undo]", (_event, button) => undo(button));
  on("click", "[data-toast-close]", (_event, button) => close(button.closest("[data-toast]")));
  document.body.addEventListener("toast", (event) => {
    const entries = Array.isArray(event.detail) ? event.detail : (event.detail.value ?? [event.detail]);
    for (const entry of entries) toast(entry);
  });
}
