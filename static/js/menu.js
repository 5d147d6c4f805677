// Menus are popovers placed next to their button. Arrow keys move, Escape returns the focus.
import { $, $$, on } from "./dom.js";

const GAP = 4;
let opener = null;

function place(menu, button) {
  const box = button.getBoundingClientRect();
  menu.style.left = "0px";
  menu.style.top = "0px";
  const { offsetWidth: width, offsetHeight: height } = menu;
  const right = box.left + width > innerWidth - 8;
  const left = right ? Math.max(8, Math.min(box.right, innerWidth - 8) - width) : Math.max(8, box.left);
  const below = innerHeight - box.bottom - GAP;
  const top = height > below && box.top > below ? Math.max(8, box.top - GAP - height) : box.bottom + GAP;
  menu.style.left = `${left}px`;
  menu.style.top = `${Math.max(8, Math.min(top, innerHeight - height - 8))}px`;
}

const itemsOf = (menu) => $$("a[href], button, input, select", menu).filter((item) => !item.disabled);

export function openMenu(menu, button) {
  opener = button;
  menu.showPopover();
  place(menu, button);
  button.setAttribute("aria-expanded", "true");
  const items = itemsOf(menu);
  (items.find((item) => item.getAttribute("aria-disabled") !== "true") ?? items[0])?.focus();
}

function toggle(menu, button) {
  if (menu.matches(":popover-open")) menu.hidePopover();
  else openMenu(menu, button);
}

function onClosed(menu) {
  const button = opener;
  opener = null;
  button?.setAttribute("aria-expanded", "false");
  menu.removeAttribute("style");
  const inside = menu.contains(document.activeElement);
  if (button?.isConnected && (inside || document.activeElement === document.body)) button.focus();
  if (menu.hasAttribute("data-fleeting")) menu.remove();
}

/** One shared popover is filled with the menu of a row when it is asked for. */
async function openRowMenu(button) {
  $("[data-fleeting]")?.remove();
  const menu = document.createElement("div");
  menu.className = "menu";
  menu.id = "row-menu";
  menu.popover = "auto";
  menu.setAttribute("role", "menu");
  menu.setAttribute("data-fleeting", "");
  // Inside of a landmark, where people who go from one to the next find it.
  ($("#main") ?? document.body).append(menu);
  try {
    const answer = await fetch(button.dataset.rowMenu, { headers: { "HX-Request": "true" } });
    if (answer.redirected || answer.status === 401) {
      location.reload();
      return;
    }
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    // Same-origin HTML of the server's own templates, like every htmx fragment.
    menu.innerHTML = await answer.text();
  } catch {
    menu.remove();
    document.body.dispatchEvent(
      new CustomEvent("toast", {
        detail: [{ text: $("#texts").dataset.failed, level: "error", remedy: $("#texts").dataset.retry }],
      }),
    );
    return;
  }
  window.htmx.process(menu);
  openMenu(menu, button);
}

export function startMenus() {
  on("click", "[data-menu]", (_event, button) => {
    const menu = document.getElementById(button.dataset.menu);
    if (menu) toggle(menu, button);
  });
  on("click", "[data-row-menu]", (_event, button) => {
    const open = $("#row-menu:popover-open");
    if (open && opener === button) open.hidePopover();
    else openRowMenu(button);
  });
  document.addEventListener(
    "toggle",
    (event) => {
      const menu = event.target;
      if (menu.classList?.contains("menu") && event.newState === "closed") onClosed(menu);
    },
    true,
  );
  on("click", ".menu [aria-disabled=true], .batch-bar [aria-disabled=true]", (event) => {
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);
  on("click", ".menu a, .menu button:not([aria-disabled=true])", (_event, item) => {
    const menu = item.closest(".menu");
    // After the click has done its work, or htmx would lose the element it starts from.
    setTimeout(() => menu.matches(":popover-open") && menu.hidePopover(), 0);
  });
  document.addEventListener("keydown", (event) => {
    const menu = event.target.closest?.(".menu:popover-open");
    if (!menu || !["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key)) return;
    if (event.target.matches("input[type=text], input[type=date], select")) return;
    const items = itemsOf(menu);
    const at = items.indexOf(document.activeElement);
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    items[(next + items.length) % items.length]?.focus();
    event.preventDefault();
  });
  const hideAll = () => {
    for (const menu of $$(".menu:popover-open")) menu.hidePopover();
  };
  addEventListener("resize", hideAll);
  $("#main")?.addEventListener("scroll", hideAll, { passive: true });
}
