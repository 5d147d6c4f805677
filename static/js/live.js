// Live rows: an event names a resource; what shows it on this page is fetched again.
import { $, $$, text } from "./dom.js";
import { refreshSelection } from "./list.js";

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 30_000;
const GATHER_MS = 120;

let retry = FIRST_RETRY_MS;
let wasConnected = false;
let gatherTimer = 0;
const changed = new Map(); // "vm:vm-123" -> kinds of events
let fetching = false;

function state(name, label) {
  const sign = $("[data-conn]");
  if (!sign) return;
  sign.dataset.state = name;
  sign.textContent = label;
}

function note(kind, id, event) {
  const key = `${kind}:${id}`;
  if (!changed.has(key)) changed.set(key, new Set());
  changed.get(key).add(event);
  clearTimeout(gatherTimer);
  gatherTimer = setTimeout(refreshChanged, GATHER_MS);
}

/** Put a fresh element in the place of an old one; focus and text being typed survive. */
function replace(old, fresh) {
  const focused = document.activeElement;
  const inside = old.contains(focused) ? focused : null;
  if (inside?.matches("input:not([type=checkbox]), textarea, select")) return;
  const id = inside?.id;
  old.replaceWith(fresh);
  window.htmx.process(fresh);
  if (id) document.getElementById(id)?.focus({ preventScroll: true });
}

async function get(url) {
  const answer = await fetch(url, {
    headers: { "HX-Request": "true", "X-Scloud-Passive": "1" },
    credentials: "same-origin",
  });
  if (answer.status === 401) location.reload();
  return answer.ok ? answer.text() : null;
}

async function refreshRows(list, keys) {
  const ids = keys.map((key) => key.slice(key.indexOf(":") + 1));
  const params = new URLSearchParams({ rows: ids.join(",") });
  // A saved view has columns of its own.
  const columns = new URLSearchParams(location.search).get("cols");
  if (columns) params.set("cols", columns);
  const html = await get(`${list.dataset.liveUrl}?${params}`);
  if (html === null || !list.isConnected) return;
  const fresh = new Map();
  const part = new DOMParser().parseFromString(html, "text/html");
  for (const row of $$("[data-live]", part)) fresh.set(row.dataset.live, document.importNode(row, true));
  for (const key of keys) {
    const old = $(`[data-live="${CSS.escape(key)}"]`, list);
    if (!old) continue;
    if (fresh.has(key)) replace(old, fresh.get(key));
    else old.remove();
  }
  refreshSelection(list);
  if (!$("[data-rows] > tr", list)) reloadList(list);
}

function reloadList(list) {
  window.htmx.ajax("GET", list.dataset.liveUrl + location.search, {
    source: list,
    target: `#${list.id}`,
    swap: "outerHTML",
  });
}

/** A resource of the list's kind that is not shown: put it in, unless that would disturb. */
function offerNew(list) {
  const busy = list.hasAttribute("data-selected") || list.contains(document.activeElement) || $(".menu:popover-open");
  const firstPage = !new URLSearchParams(location.search).has("page");
  if (busy || !firstPage) {
    const hint = $("[data-list-changed]", list);
    if (hint) hint.hidden = false;
  } else {
    reloadList(list);
  }
}

async function refreshChanged() {
  if (fetching) {
    gatherTimer = setTimeout(refreshChanged, GATHER_MS);
    return;
  }
  fetching = true;
  const batch = new Map(changed);
  changed.clear();
  try {
    for (const list of $$("[data-live-list]")) {
      const keys = [...batch.keys()].filter((key) => key.startsWith(`${list.dataset.liveList}:`));
      const shown = keys.filter((key) => $(`[data-live="${CSS.escape(key)}"]`, list));
      for (let i = 0; i < shown.length; i += 50) await refreshRows(list, shown.slice(i, i + 50));
      if (shown.length < keys.length) offerNew(list);
    }
    for (const key of batch.keys()) {
      for (const element of $$(`[data-live="${CSS.escape(key)}"][data-live-url]`)) {
        if (element.matches("[data-live-list]")) continue;
        const html = await get(element.dataset.liveUrl);
        if (html === null || !element.isConnected) continue;
        const fresh = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
        if (fresh) replace(element, document.importNode(fresh, true));
      }
    }
    if ([...batch.keys()].some((key) => key.startsWith("job:"))) {
      window.htmx.trigger("#strip-jobs", "strip-refresh");
    }
  } finally {
    fetching = false;
  }
}

/** After a gap nobody knows what was missed: fetch everything that is live. */
function resync() {
  for (const element of $$("[data-live]")) {
    const at = element.dataset.live.indexOf(":");
    note(element.dataset.live.slice(0, at), element.dataset.live.slice(at + 1), "resync");
  }
  window.htmx.trigger("#strip-jobs", "strip-refresh");
}

function connect(path) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}${path}`);
  socket.addEventListener("open", () => {
    retry = FIRST_RETRY_MS;
    state("live", text("live"));
    if (wasConnected) resync();
    wasConnected = true;
  });
  socket.addEventListener("message", (message) => {
    const event = JSON.parse(message.data);
    if (event.kind === "resync") resync();
    else if (event.resource_kind && event.resource_id) note(event.resource_kind, event.resource_id, event.kind);
    document.body.dispatchEvent(new CustomEvent("scloud:event", { detail: event }));
  });
  socket.addEventListener("close", (event) => {
    if (event.code === 4401) {
      location.reload(); // signed out elsewhere: the server sends us to the login page
      return;
    }
    state("lost", text("offline"));
    // Jitter keeps a thousand pages from coming back in the same moment.
    setTimeout(() => connect(path), retry * (0.75 + Math.random() / 2));
    retry = Math.min(retry * 2, LAST_RETRY_MS);
  });
}

function countActive() {
  const strip = $("#strip-jobs [data-active]");
  const count = $("[data-active-jobs]");
  if (!strip || !count) return;
  count.textContent = strip.dataset.active;
  count.hidden = strip.dataset.active === "0";
}

export function startLive() {
  const path = document.body.dataset.liveSocket;
  if (!path) return;
  connect(path);
  document.body.addEventListener("htmx:afterSwap", countActive);
  document.body.addEventListener("resource-changed", (event) => {
    const entries = Array.isArray(event.detail) ? event.detail : (event.detail.value ?? []);
    for (const { kind, id } of entries) note(kind, id, "changed");
    window.htmx.trigger("#strip-jobs", "strip-refresh");
  });
  addEventListener("pageshow", (event) => {
    if (event.persisted) resync();
  });
}
