import { $, $$, on } from "./dom.js";

const SHOWN_MS = { ok: 5000, info: 6000, warn: 9000, error: 0 };

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
  const time = SHOWN_MS[level] ?? 6000;
  // Errors stay until they are dismissed: they say what to do.
  if (time) setTimeout(() => toast.isConnected && close(toast), time);
}

/** Show a message. level: ok, info, warn, error. */
export function toast({ text, level = "ok", remedy = "" }) {
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
  on("click", "[data-toast-close]", (_event, button) => close(button.closest("[data-toast]")));
  document.body.addEventListener("toast", (event) => {
    const entries = Array.isArray(event.detail) ? event.detail : (event.detail.value ?? [event.detail]);
    for (const entry of entries) toast(entry);
  });
}
