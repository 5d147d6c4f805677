// The one dialog of a page: htmx fills its slot, showModal() traps the focus, closing returns it.
import { $, on } from "./dom.js";

let returnTo = null;

function open(dialog) {
  if (dialog.open) return;
  if (!returnTo) returnTo = document.activeElement;
  dialog.showModal();
  const wanted =
    $("[aria-invalid=true]", dialog) ??
    $("[autofocus]", dialog) ??
    $(".dialog-body input:not([type=hidden]), .dialog-body select, .dialog-body textarea", dialog) ??
    $(".dialog-foot button[type=submit]", dialog);
  wanted?.focus();
}

export function startDialog() {
  const dialog = $("#dialog");
  const slot = $("#dialog-slot");
  if (!dialog || !slot) return;
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.target === slot && !dialog.open) {
      // A menu closes before the answer is here: remember the button behind it.
      const source = event.detail.elt;
      const menu = source.closest(".menu");
      returnTo = menu ? ($(`[data-menu="${menu.id}"]`) ?? $("[data-row-menu][aria-expanded=true]") ?? source) : source;
    }
  });
  // Not at the swap: until it has settled, htmx does not know the form yet, and Enter would send it
  // as a page.
  document.body.addEventListener("htmx:afterSettle", (event) => {
    if (event.detail.target !== slot || !slot.firstElementChild) return;
    if (dialog.open) $("[aria-invalid=true], [role=alert]", slot)?.scrollIntoView({ block: "nearest" });
    open(dialog);
  });
  document.body.addEventListener("dialog-close", () => dialog.close());
  on("click", "#dialog [data-dialog-close]", () => dialog.close());
  dialog.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    const submit = $("form button[type=submit]:not(:disabled)", dialog);
    if (!submit) return;
    event.preventDefault();
    submit.form.requestSubmit(submit);
  });
  dialog.addEventListener("mousedown", (event) => {
    // A press on the backdrop closes it, unless there is something typed in to lose.
    const dirty = [...dialog.querySelectorAll("input:not([type=hidden]), textarea")].some(
      (field) => field.value !== field.defaultValue,
    );
    // The results of a batch stay until they are closed on purpose.
    const results = $("[data-batch-done]", dialog);
    if (event.target === dialog && !dirty && !results) dialog.close();
  });
  dialog.addEventListener("close", () => {
    slot.replaceChildren();
    const target = returnTo;
    returnTo = null;
    if (target?.isConnected) target.focus();
    else if (target?.id) document.getElementById(target.id)?.focus();
  });
}
