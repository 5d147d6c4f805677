/* The page of a VM's screen: connects, reconnects, and the tools of the bar. */

import RFB from "../vendor/novnc/rfb.js";
import { holdKey, pressCombination, typeText } from "./keyboard.js";
import { NAMES, untypable } from "./layouts.js";

const root = document.querySelector("[data-vnc]");
const texts = JSON.parse(document.getElementById("vnc-texts").textContent);
const find = (selector) => root.querySelector(selector);
const screen = find("[data-screen]");

/* Close codes of the proxy. */
const SIGNED_OUT = 4401;
const GONE = 4404;
const NOT_RUNNING = 4409;

/* Dense at first: a machine that is started anew shows its first lines for a moment only. */
const BACKOFF_MS = [0, 500, 500, 1000, 1000, 2000, 4000, 8000, 15000, 30000];
/* A page that is left alone must not ask for ever: asking keeps the session signed in. */
const MOST_ATTEMPTS = 23;
const TICKET_TIMEOUT_MS = 20000;
const LAYOUT_KEY = "scloud-vnc-layout";

let rfb = null;
let attempts = 0;
let timer = null;
/* The screen is away and comes back with the VM, also when asking was given up. */
let waits = false;
let generation = 0;
let typing = null;
let scaled = true;
/* Waiting for the VM to run: nothing is asked meanwhile, its state says when to connect. */
let idle = false;
/* Whether its state has said since then that the screen cannot be opened. */
let off = false;
/* Ctrl+Alt+Del restarts many guests: it is asked once. */
const RESTART = "ControlLeft+AltLeft+Delete";
let restartAllowed = false;

/* How long the screen takes to answer is asked this often, and how long is waited for it. */
const ASK_MS = 5000;
const GOOD_MS = 100;
const FAIR_MS = 300;
/* Text that the VM has copied, for browsers that allow the clipboard on a click only. */
let copied = "";

const token = () => JSON.parse(document.body.getAttribute("hx-headers"))["X-CSRFToken"];

/* -- what is shown ------------------------------------------------------------------------------ */

function say(message, { detail = "", busy = false, reconnect = false, login = false, start = false, back = false } = {}) {
  find("[data-message]").textContent = message;
  find("[data-detail]").textContent = detail;
  find("[data-turn]").hidden = !busy;
  find("[data-veil] [data-reconnect]").hidden = !reconnect;
  find("[data-login]").hidden = !login;
  find("[data-start-vm]").hidden = !start;
  find("[data-back]").hidden = !back;
  find("[data-veil]").hidden = false;
}

function enableTools(on) {
  for (const tool of root.querySelectorAll("[data-needs-screen]")) {
    tool.disabled = !on;
  }
  if (!on) {
    for (const held of root.querySelectorAll("[data-hold]")) {
      held.setAttribute("aria-checked", "false");
    }
  }
}

/* Have the console's modules fetch state and power menu again. */
function refreshState() {
  const detail = [{ kind: "vm", id: root.dataset.vm }];
  document.body.dispatchEvent(new CustomEvent("resource-changed", { detail }));
}

/* -- connecting --------------------------------------------------------------------------------- */

async function fetchTicket() {
  const answer = await fetch(root.dataset.ticketUrl, {
    method: "POST",
    headers: { "X-CSRFToken": token(), Accept: "application/json" },
    signal: AbortSignal.timeout(TICKET_TIMEOUT_MS),
    redirect: "manual",
  });
  if (answer.type === "opaqueredirect" || answer.status === 401) {
    return { login: true };
  }
  const body = await answer.json().catch(() => ({}));
  return answer.ok ? body : { error: body, status: answer.status };
}

function stop() {
  clearTimeout(timer);
  timer = null;
  generation += 1;
  typing?.abort();
  const old = rfb;
  rfb = null;
  old?.disconnect();
  screen.replaceChildren();
  enableTools(false);
  showQuality(null);
}

async function connect() {
  stop();
  waits = false;
  idle = false;
  const mine = generation;
  say(attempts ? texts.reconnecting : texts.connecting, { busy: true });
  let ticket;
  try {
    ticket = await fetchTicket();
  } catch {
    ticket = { error: { message: texts.unreachable }, status: 0 };
  }
  if (mine !== generation) {
    return;
  }
  if (ticket.login) {
    say(texts.signedOut, { login: true });
    return;
  }
  if (ticket.error) {
    refuse(ticket.error, ticket.status);
    return;
  }
  open(ticket.url, mine);
}

function refuse(error, status) {
  const message = error.message ?? texts.failed;
  if (status === 403 || status === 404) {
    say(message, { detail: error.remedy ?? "", back: true });
    return;
  }
  if (error.code === "vm_state") {
    waitForVm();
  } else {
    again(message, error.remedy ?? "");
  }
}

/* What the part of the page that follows the VM's state says of it. */
const standing = () => find("[data-may-open]").dataset;

/* Nothing runs: wait for the state to change instead of asking again and again. */
function waitForVm() {
  stop();
  attempts = 0;
  waits = true;
  idle = true;
  off = standing().mayOpen === "no";
  showWaiting();
}

function showWaiting() {
  const start = standing().mayStart === "yes";
  say(texts.notRunning, { detail: texts.waits, start, reconnect: !start && !off, back: true });
}

new MutationObserver(() => {
  if (!idle) {
    return;
  }
  if (standing().mayOpen === "no") {
    off = true;
    showWaiting();
  } else if (off) {
    connect();
  }
}).observe(find(".vnc-who"), { childList: true });

/* Try again after a pause that grows. */
function again(message, detail = "") {
  waits = true;
  if (attempts >= MOST_ATTEMPTS) {
    say(message, { detail, reconnect: true });
    return;
  }
  const pauseMs = BACKOFF_MS[Math.min(attempts, BACKOFF_MS.length - 1)];
  attempts += 1;
  say(message, { detail, busy: true, reconnect: pauseMs >= 4000 });
  timer = setTimeout(connect, pauseMs);
}

function open(url, mine) {
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  let ended = false;
  socket.addEventListener("close", (event) => {
    if (mine === generation && !ended) {
      ended = true;
      closed(event);
    }
  });
  const screenOf = new RFB(screen, socket, { shared: true });
  rfb = screenOf;
  screenOf.scaleViewport = scaled;
  screenOf.clipViewport = !scaled;
  screenOf.dragViewport = false;
  screenOf.background = "transparent";
  screenOf.addEventListener("connect", () => {
    if (mine !== generation) {
      return;
    }
    attempts = 0;
    find("[data-veil]").hidden = true;
    enableTools(true);
    root.dataset.connected = "true";
    screenOf.focus({ preventScroll: true });
    refreshState();
    sharpen();
    watchQuality(screenOf, socket);
  });
  screenOf.addEventListener("disconnect", () => {
    root.dataset.connected = "false";
    if (mine === generation) {
      enableTools(false);
    }
  });
  /* The VM copied something: it becomes what the browser pastes, where the browser allows it. */
  screenOf.addEventListener("clipboard", (event) => {
    copied = event.detail.text;
    find("[data-copied]").hidden = copied === "";
    copyOut();
  });
}

/* -- how good the connection is ----------------------------------------------------------------- */

function showQuality(ms, level = "") {
  const sign = find("[data-quality]");
  sign.hidden = ms === null && !level;
  sign.dataset.level = level;
  find("[data-quality-ms]").textContent = ms === null ? "" : `${ms} ms`;
  const words = texts[`quality_${level}`] ?? "";
  sign.title = words;
  find("[data-quality-words]").textContent = words;
}

/* One pixel is asked for, and the time until the VM's screen answers is measured: all the way to the
   host and back. What the guest draws meanwhile may answer sooner, never later. */
function watchQuality(screenOf, socket) {
  let askedAt = 0;
  let limit = null;
  const answered = () => {
    if (!askedAt) {
      return;
    }
    clearTimeout(limit);
    const ms = Math.max(1, Math.round(performance.now() - askedAt));
    askedAt = 0;
    if (rfb === screenOf) {
      showQuality(ms, ms <= GOOD_MS ? "good" : ms <= FAIR_MS ? "fair" : "poor");
    }
  };
  const ask = () => {
    if (rfb !== screenOf || socket.readyState !== WebSocket.OPEN) {
      clearInterval(timerOfQuality);
      clearTimeout(limit);
      return;
    }
    if (askedAt || document.hidden) {
      return;
    }
    askedAt = performance.now();
    limit = setTimeout(() => rfb === screenOf && showQuality(null, "silent"), ASK_MS);
    /* Incremental: false, or an unchanged pixel would never be sent. */
    RFB.messages.fbUpdateRequest(screenOf._sock, false, 0, 0, 1, 1);
  };
  socket.addEventListener("message", answered);
  const timerOfQuality = setInterval(ask, ASK_MS);
  ask();
}

/* -- what the VM copied ------------------------------------------------------------------------- */

async function copyOut() {
  try {
    await navigator.clipboard.writeText(copied);
    tell(texts.copied);
    return true;
  } catch {
    /* Only on a click, or not at all without https: the button stays. */
    return false;
  }
}

function tell(text) {
  const place = find("[data-told]");
  place.textContent = text;
  setTimeout(() => {
    if (place.textContent === text) {
      place.textContent = "";
    }
  }, 4000);
}

/* -- sharpness ---------------------------------------------------------------------------------- */

/* Whole multiples of the screen's pixels, and anything near or above twice their size, are drawn as
   squares; what is shrunk or only a little larger looks better smoothed. */
function sharpen() {
  const canvas = screen.querySelector("canvas");
  if (!canvas?.width) {
    return;
  }
  const ratio = (canvas.getBoundingClientRect().width * window.devicePixelRatio) / canvas.width;
  const whole = Math.round(ratio) >= 1 && Math.abs(ratio - Math.round(ratio)) < 0.02;
  screen.classList.toggle("vnc-sharp", whole || ratio >= 1.75);
}

new ResizeObserver(sharpen).observe(screen);
/* The guest may choose another size, which changes the canvas and not the place around it. */
new MutationObserver(sharpen).observe(screen, { subtree: true, attributes: true, attributeFilter: ["width", "style"] });

function closed({ code, reason }) {
  rfb = null;
  enableTools(false);
  refreshState();
  if (code === SIGNED_OUT) {
    say(reason || texts.signedOut, { reconnect: true, login: true });
  } else if (code === GONE) {
    say(reason || texts.gone);
  } else if (code === NOT_RUNNING) {
    waitForVm();
  } else {
    again(reason || texts.lost);
  }
}

/* -- tools -------------------------------------------------------------------------------------- */

function closeMenu(element) {
  const menu = element.closest("[popover]");
  if (menu?.matches(":popover-open")) {
    menu.hidePopover();
  }
}

root.addEventListener("click", (event) => {
  const tool = event.target.closest("button");
  if (!tool || tool.disabled) {
    return;
  }
  const { dataset } = tool;
  if (dataset.keys === RESTART && rfb && !restartAllowed) {
    closeMenu(tool);
    document.getElementById("vnc-restart").showModal();
  } else if (dataset.keys && rfb) {
    pressCombination(rfb, dataset.keys);
    closeMenu(tool);
    rfb.focus();
  } else if (dataset.hold && rfb) {
    const down = tool.getAttribute("aria-checked") !== "true";
    tool.setAttribute("aria-checked", String(down));
    holdKey(rfb, dataset.hold, down);
  } else if (dataset.open) {
    document.getElementById(dataset.open).showModal();
  } else if ("close" in dataset) {
    tool.closest("dialog").close();
  } else if ("reconnect" in dataset) {
    attempts = 0;
    connect();
  } else if ("copied" in dataset) {
    copyOut().then((done) => done || tell(texts.notCopied));
  } else if ("screenshot" in dataset && rfb) {
    saveScreen();
  } else if ("scale" in dataset) {
    setScale(!scaled);
  } else if ("fullscreen" in dataset) {
    toggleFullscreen();
  } else if ("touchKeyboard" in dataset) {
    find("[data-touch-input]").focus();
  }
});

function setScale(on) {
  scaled = on;
  find("[data-scale]").setAttribute("aria-pressed", String(on));
  if (rfb) {
    rfb.scaleViewport = on;
    rfb.clipViewport = !on;
    rfb.dragViewport = !on && matchMedia("(pointer: coarse)").matches;
  }
  requestAnimationFrame(sharpen);
}

function saveScreen() {
  rfb.toBlob((blob) => {
    const link = document.createElement("a");
    const stamp = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
    link.href = URL.createObjectURL(blob);
    link.download = `${root.dataset.vm}-${stamp}.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }, "image/png");
}

async function toggleFullscreen() {
  if (document.fullscreenElement) {
    await document.exitFullscreen();
    return;
  }
  await document.documentElement.requestFullscreen();
  /* Where the browser can, keys such as Alt+Tab and Esc go to the VM as well. */
  await navigator.keyboard?.lock?.().catch(() => {});
  rfb?.focus();
}

document.addEventListener("fullscreenchange", () => {
  find("[data-fullscreen]").setAttribute("aria-pressed", String(Boolean(document.fullscreenElement)));
});

document.querySelector("[data-send-restart]").addEventListener("submit", () => {
  restartAllowed = true;
  if (rfb) {
    pressCombination(rfb, RESTART);
  }
});

document.getElementById("vnc-restart").addEventListener("close", () => rfb?.focus());

/* -- pasting as keystrokes ----------------------------------------------------------------------- */

const pasteDialog = document.getElementById("vnc-paste");
const pasteForm = pasteDialog.querySelector("form");
const layoutChoice = pasteForm.elements.namedItem("layout");
const remembered = localStorage.getItem(LAYOUT_KEY);
if (NAMES.includes(remembered)) {
  layoutChoice.value = remembered;
}

function showUntypable() {
  const missing = untypable(layoutChoice.value, pasteForm.elements.namedItem("text").value);
  const note = pasteForm.querySelector("[data-untypable]");
  note.hidden = missing.length === 0;
  note.textContent = missing.length ? `${texts.untypable} ${missing.slice(0, 20).join(" ")}` : "";
}

pasteForm.addEventListener("input", () => {
  localStorage.setItem(LAYOUT_KEY, layoutChoice.value);
  showUntypable();
});

pasteForm.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (!rfb || typing) {
    return;
  }
  const text = pasteForm.elements.namedItem("text");
  const bar = pasteForm.querySelector("[data-progress]");
  const button = pasteForm.querySelector("[type=submit]");
  typing = new AbortController();
  button.disabled = true;
  bar.hidden = false;
  try {
    await typeText(rfb, layoutChoice.value, text.value, {
      signal: typing.signal,
      progress: (done, total) => {
        bar.max = total;
        bar.value = done;
      },
    });
    if (!typing.signal.aborted) {
      text.value = "";
      showUntypable();
      pasteDialog.close();
    }
  } finally {
    typing = null;
    button.disabled = false;
    bar.hidden = true;
  }
});

pasteDialog.addEventListener("close", () => {
  typing?.abort();
  rfb?.focus();
});

/* -- the keyboard of a phone ---------------------------------------------------------------------- */

const touchInput = find("[data-touch-input]");
touchInput.addEventListener("input", (event) => {
  if (!rfb) {
    return;
  }
  if (event.inputType === "deleteContentBackward") {
    pressCombination(rfb, "Backspace");
  } else if (event.inputType === "insertLineBreak") {
    pressCombination(rfb, "Enter");
  } else if (event.data) {
    typeText(rfb, layoutChoice.value, event.data);
  }
  /* Something has to be left, or a phone does not report Backspace. */
  touchInput.value = " ";
});

/* -- the VM's state ------------------------------------------------------------------------------ */

/* State and power menu are fetched again by the console's own modules; here only the screen. */
const COMES_UP = ["vm.created", "vm.started", "vm.restarted", "vm.migrated", "vm.failed_over"];
document.body.addEventListener("scloud:event", ({ detail }) => {
  if (waits && detail.resource_id === root.dataset.vm && COMES_UP.includes(detail.kind)) {
    attempts = 0;
    connect();
  }
});

window.addEventListener("pagehide", stop);
window.addEventListener("pageshow", (event) => {
  if (event.persisted) {
    begin();
  }
});

function begin() {
  attempts = 0;
  if (standing().mayOpen === "no") {
    waitForVm();
  } else {
    connect();
  }
}

begin();
