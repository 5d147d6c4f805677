// Keeps the words of <time data-rel> fresh.
import { $$ } from "./dom.js";

const STEPS = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
];

export function startTimes() {
  const words = new Intl.RelativeTimeFormat(document.documentElement.lang || "en", {
    numeric: "always",
    style: "short",
  });
  const refresh = () => {
    for (const element of $$("time[data-rel]")) {
      const span = Date.parse(element.dateTime) - Date.now();
      const size = Math.abs(span);
      // The server writes moments and old dates itself.
      if (size < 45_000 || size > 45 * 86_400_000) continue;
      const [unit, length] = STEPS.find(([, step]) => size >= step * 0.95) ?? STEPS[2];
      element.textContent = words.format(Math.round(span / length) || Math.sign(span), unit);
    }
  };
  setInterval(refresh, 20_000);
}
