// The create wizard: showing and making up a password. Everything else is the server's.

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

function show(input, shown) {
  input.type = shown ? "text" : "password";
  const button = document.querySelector(`[data-reveal="${input.id}"]`);
  button?.setAttribute("aria-pressed", String(shown));
}

document.addEventListener("click", (event) => {
  const reveal = event.target.closest("[data-reveal]");
  if (reveal) {
    const input = document.getElementById(reveal.dataset.reveal);
    show(input, input.type === "password");
  }
  const make = event.target.closest("[data-generate]");
  if (make) {
    const input = document.getElementById(make.dataset.generate);
    input.value = generate();
    show(input, true);
    input.focus();
    input.select();
  }
});

// After a refused purchase: to the first field that needs attention.
document.body.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.requestConfig?.elt?.id !== "wizard") return;
  const error = document.querySelector(".field-errors:not(:empty)");
  const field = error?.closest(".field")?.querySelector("input, select, textarea");
  (field ?? document.querySelector("#wizard-summary [role=alert]"))?.scrollIntoView({ block: "center" });
  field?.focus({ preventScroll: true });
});
