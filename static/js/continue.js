// Sends the only form of a page that is on the way to another one.
document.querySelector("[data-continue]")?.requestSubmit();
