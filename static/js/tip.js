// Why a control cannot be used, shown while it is pointed at or has the focus. Screen readers are told
// by the control's aria-describedby.
const GAP = 6;
const WIDE = 280;
let box = null;
let owner = null;

function place(target) {
  const anchor = target.closest(".menu") ?? target;
  const beside = anchor.getBoundingClientRect();
  const at = target.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = box;
  let left = at.left;
  let top = at.bottom + GAP;
  if (anchor !== target && innerWidth - beside.right > WIDE + 2 * GAP) {
    left = beside.right + GAP;
    top = at.top;
  } else if (anchor !== target && beside.left > WIDE + 2 * GAP) {
    left = beside.left - GAP - width;
    top = at.top;
  } else if (top + height > innerHeight - GAP) {
    top = at.top - GAP - height;
  }
  box.style.left = `${Math.max(GAP, Math.min(left, innerWidth - width - GAP))}px`;
  box.style.top = `${Math.max(GAP, Math.min(top, innerHeight - height - GAP))}px`;
}

function hide() {
  owner = null;
  if (box?.matches(":popover-open")) box.hidePopover();
}

function show(target) {
  if (!box) {
    box = document.createElement("div");
    box.className = "tip";
    box.popover = "manual";
    box.setAttribute("aria-hidden", "true");
    document.body.append(box);
  }
  hide();
  owner = target;
  box.textContent = target.dataset.tip;
  // Shown anew, so that it lies above a menu that was opened meanwhile.
  box.showPopover();
  place(target);
}

export function startTips() {
  const over = (event) => {
    const target = event.target.closest?.("[data-tip]");
    if (target && target !== owner) show(target);
    else if (!target && owner && !owner.matches(":focus-visible")) hide();
  };
  document.addEventListener("mouseover", over);
  document.addEventListener("focusin", over);
  document.addEventListener("focusout", (event) => event.target === owner && hide());
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  document.addEventListener("toggle", (event) => event.target !== box && owner && !owner.checkVisibility() && hide(), true);
  document.addEventListener("scroll", hide, { capture: true, passive: true });
  // What was pointed at may have been replaced.
  document.body.addEventListener("htmx:afterSettle", () => owner && !owner.isConnected && hide());
}
