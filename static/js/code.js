// Fills in the code of a mail. It stands behind the # of the link, which no browser sends.
const code = document.querySelector("[name=code]");
const given = location.hash.slice(1);
if (code && given) {
  code.value = given;
  // A code in the address bar would stay in the history of the browser.
  history.replaceState(null, "", location.pathname);
  document.querySelector("[data-after-code]")?.focus();
}
