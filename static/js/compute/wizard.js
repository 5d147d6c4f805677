// The create wizard: passwords that are made up here, searching images, limits, mistakes. All else is the
// server's.

const KINDS = ["abcdefghijkmnopqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "23456789", "-_.!%+="];
const LENGTH = 16;

function pick(letters) {
  // Rejection keeps every letter equally likely.
  const limit = 256 - (256 % letters.length);
  const bytes = new Uint8Array(1);
  do crypto.getRandomValues(bytes);
  while (bytes[0] >= limit);
  return letters[bytes[0] % letters.length];
}

function generate() {
  const all = KINDS.join("");
  for (;;) {
    const text = Array.from({ length: LENGTH }, () => pick(all)).join("");
    if (KINDS.every((kind) => [...text].some((letter) => kind.includes(letter)))) return text;
  }
}

/** The part of the page that the errors of a field are about. */
function partOf(name) {
  const slot = document.getElementById(`err-${name}`);
  return slot?.closest(".field") ?? slot?.previousElementSibling ?? null;
}

function show(input) {
  input.type = "text";
  document.querySelector(`[data-reveal="${input.id}"]`)?.setAttribute("aria-pressed", "true");
}

document.addEventListener("click", (event) => {
  const make = event.target.closest("[data-generate]");
  if (make) {
    const input = document.getElementById(make.dataset.generate);
    input.value = generate();
    show(input);
    // As if it had been typed: what was said of another one is out of date.
    input.dispatchEvent(new Event("input", { bubbles: true }));
    input.focus();
    input.select();
  }
  const mistake = event.target.closest("[data-mistake]");
  if (mistake) {
    const part = partOf(mistake.dataset.mistake);
    if (!part) return;
    event.preventDefault();
    for (let box = part.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    const controls = [...part.querySelectorAll("input:not([type=hidden], :disabled), select, textarea")];
    const control = controls.find((one) => one.checked) ?? controls[0];
    part.scrollIntoView({ block: "center" });
    control?.focus({ preventScroll: true });
  }
});

function search(input) {
  const part = document.querySelector(input.dataset.filter);
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const group of part.querySelectorAll("[data-filter-group]")) {
    let found = false;
    for (const line of group.querySelectorAll("[data-words]")) {
      line.hidden = !words.every((word) => line.dataset.words.includes(word));
      found ||= !line.hidden;
    }
    group.hidden = !found;
  }
  const seen = [...part.querySelectorAll("[data-filter-group]")].some((group) => group.checkVisibility());
  part.querySelector("[data-filter-none]").hidden = seen || !words.length;
}

document.addEventListener(
  "input",
  (event) => {
    if (event.target.matches("[data-filter]")) {
      // Nothing of the purchase has changed: no price is asked for.
      event.stopPropagation();
      search(event.target);
    }
    if (event.target.name === "image_source") {
      const input = document.querySelector("[data-filter]");
      if (input) search(input);
    }
    if (event.target.id === "password") document.getElementById("err-password")?.replaceChildren();
  },
  true,
);

document.addEventListener("keydown", (event) => {
  // Enter in the search would buy.
  if (event.key === "Enter" && event.target.matches?.("[data-filter]")) event.preventDefault();
});

// A price that is asked for before the purchase is answered would else not tell the mistakes again.
document.addEventListener("submit", (event) => {
  const box = event.target.id === "wizard" && document.getElementById("wizard-mistakes");
  if (!box || box.querySelector("[name=pressed]")) return;
  const pressed = document.createElement("input");
  Object.assign(pressed, { type: "hidden", name: "pressed", value: "1" });
  box.append(pressed);
}, true);

// The price is asked for without the password; whether there is one matters to what is missing.
document.body.addEventListener("htmx:configRequest", (event) => {
  if (event.detail.path?.endsWith("/quote/") && document.getElementById("password")?.value) {
    event.detail.parameters.password_given = "1";
  }
});

function setLimits() {
  for (const hint of document.querySelectorAll("[data-limits]")) {
    const input = document.getElementById(hint.dataset.limits);
    for (const name of ["min", "max"]) {
      if (hint.dataset[name]) input?.setAttribute(name, hint.dataset[name]);
      else input?.removeAttribute(name);
    }
  }
}

document.body.addEventListener("htmx:afterSettle", (event) => {
  const asked = event.detail.requestConfig?.elt;
  if (!asked?.closest?.("#wizard, [hx-include='#wizard']")) return;
  setLimits();
  // After a refused purchase: to the list of all mistakes, else to why it was refused.
  if (asked.id !== "wizard" || event.detail.target?.id !== "wizard-summary") return;
  const list = document.getElementById("wizard-mistakes");
  if (list?.querySelector("[role=alert]")) {
    list.scrollIntoView({ block: "center" });
    list.focus({ preventScroll: true });
  } else {
    document.querySelector("#wizard-summary .note")?.scrollIntoView({ block: "center" });
  }
});
