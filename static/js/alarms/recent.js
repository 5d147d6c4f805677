// The lines of the last hour in the list of VMs: asked once for all rows, when the list is there.
import { $$ } from "../dom.js";

const GATHER_MS = 60;
const REFRESH_MS = 60_000;

let timer = 0;

async function fill(places) {
  const ids = [...new Set(places.map((place) => place.dataset.recent))];
  if (!ids.length || document.hidden) return;
  let answer;
  try {
    answer = await fetch(`${places[0].dataset.recentUrl}?ids=${encodeURIComponent(ids.join(","))}`, {
      headers: { "HX-Request": "true", "X-Scloud-Passive": "1" },
    });
  } catch {
    return; // the list itself says when the server is away
  }
  if (!answer.ok) return;
  const part = new DOMParser().parseFromString(await answer.text(), "text/html");
  const found = new Map($$("[data-recent-of]", part).map((one) => [one.dataset.recentOf, one]));
  for (const place of places) {
    const lines = found.get(place.dataset.recent);
    const shown = lines ? [...document.importNode(lines, true).children] : ["—"];
    place.replaceChildren(...shown);
    place.dataset.filled = "";
  }
}

/** Rows come with the page, with another page of the list, and by push. */
function look() {
  clearTimeout(timer);
  timer = setTimeout(() => fill($$("[data-recent]:not([data-filled])")), GATHER_MS);
}

document.body.addEventListener("htmx:load", look);
document.addEventListener("visibilitychange", look);
setInterval(() => fill($$("[data-recent]")), REFRESH_MS);
look();
