// Entry of every page: menus, dialog, toasts, lists, live rows, search, theme, navigation.
import { $, $$, on, setCookie, text } from "./dom.js";
import { startDialog } from "./dialog.js";
import { startDownloads } from "./download.js";
import { startLists } from "./list.js";
import { startLive } from "./live.js";
import { startMenus } from "./menu.js";
import { startTimes } from "./time.js";
import { startTips } from "./tip.js";
import { startToasts, toast } from "./toast.js";

function startCopy() {
  on("click", "[data-copy]", async (_event, button) => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.setAttribute("data-copied", "");
    const what = button.dataset.secret === undefined ? `: ${button.dataset.copy}` : "";
    toast({ text: text("copied") + what, level: "ok" });
    setTimeout(() => button.removeAttribute("data-copied"), 1500);
  });
}

function startReveal() {
  on("click", "[data-reveal]", (_event, button) => {
    const field = document.getElementById(button.dataset.reveal);
    const shown = field.type === "password";
    field.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", String(shown));
  });
}

function startSearch() {
  const input = $("#global-search");
  const results = $("#search-results");
  if (!input || !results) return;
  const typing = (element) => element.matches?.("input, textarea, select, [contenteditable]");
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !typing(event.target)) {
      if ($("#dialog")?.open) return;
      event.preventDefault();
      input.focus();
      input.select();
    }
  });
  const links = () => $$("a[href]", results);
  const box = input.closest(".topbar-search");
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      results.replaceChildren();
      input.focus();
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const all = [input, ...links()];
      const at = all.indexOf(document.activeElement);
      const next = (at + (event.key === "ArrowDown" ? 1 : -1) + all.length) % all.length;
      all[next].focus();
      event.preventDefault();
    }
  });
  box.addEventListener("focusout", (event) => {
    if (!box.contains(event.relatedTarget)) results.replaceChildren();
  });
}

function startNav() {
  const root = document.documentElement;
  on("click", "[data-nav-toggle]", () => {
    root.dataset.nav = root.dataset.nav === "collapsed" ? "open" : "collapsed";
    setCookie("scloud_nav", root.dataset.nav);
  });
  const drawer = (open) => {
    if (open) root.dataset.drawer = "open";
    else delete root.dataset.drawer;
    $(".nav-toggle")?.setAttribute("aria-expanded", String(open));
    if (open) $(".nav-link")?.focus();
    else $(".nav-toggle")?.focus();
  };
  on("click", "[data-drawer-toggle]", () => drawer(root.dataset.drawer !== "open"));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && root.dataset.drawer === "open") drawer(false);
  });
}

/** Ctrl+Enter sends the form that the focus is in; dialogs do so by themselves. */
function startSending() {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.defaultPrevented) return;
    const form = event.target.closest?.("form");
    if (!form || form.closest("dialog")) return;
    const button = [...form.elements].find((one) => one.type === "submit" && !one.disabled);
    if (!button) return;
    event.preventDefault();
    form.requestSubmit(button);
  });
}

function startErrors() {
  const failed = () => toast({ text: text("failed"), level: "error", remedy: text("retry") });
  document.body.addEventListener("htmx:sendError", (event) => {
    if (!event.detail.elt?.matches("[data-strip]")) failed();
  });
  document.body.addEventListener("htmx:responseError", (event) => {
    const { xhr, elt } = event.detail;
    if (!xhr.getResponseHeader("HX-Trigger") && xhr.status !== 401 && !elt?.matches("[data-strip]")) failed();
  });
}

startToasts();
startMenus();
startTips();
startDialog();
startLists();
startDownloads();
startCopy();
startReveal();
startSearch();
startNav();
startTimes();
startSending();
startErrors();
startLive();
