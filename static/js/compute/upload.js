// How far the file of an image is on its way. The form itself is htmx's.
document.body.addEventListener("htmx:xhr:progress", (event) => {
  const place = event.target.querySelector?.("[data-upload]");
  if (!place || !event.detail.lengthComputable) return;
  const percent = Math.floor((100 * event.detail.loaded) / event.detail.total);
  place.hidden = false;
  place.querySelector("progress").value = percent;
  place.querySelector("[data-upload-text]").textContent = `${percent} %`;
});
