// The history of costs: bars over months or days, and the same numbers as a table.
import uPlot from "../../vendor/uplot/uPlot.esm.js";
import { DASHES, colours } from "../alarms/plot.js";
import { $, $$ } from "../dom.js";

const HEIGHT = 220;
const WIDEST_BAR_PX = 48;

function cell(name, text, { scope, number, label, main } = {}) {
  const element = document.createElement(name);
  element.textContent = text;
  if (scope) element.scope = scope;
  if (number) element.className = "num";
  if (main) element.className = "cell-main";
  // On narrow screens rows are stacked, and each cell says what it is.
  if (label) element.dataset.label = label;
  return element;
}

class Costs {
  constructor(root) {
    this.root = root;
    this.place = $("[data-costs-plot]", root);
    this.asked = 0;
    this.plot = null;
    this.figure = new Intl.NumberFormat(document.documentElement.lang, { maximumSignificantDigits: 4, notation: "compact" });
    for (const button of $$("[data-costs-by]", root)) button.addEventListener("click", () => this.choose(button));
    $("[data-costs-month]", root).addEventListener("change", () => this.load());
    new ResizeObserver(() => this.fit()).observe(this.place);
    for (const query of ["(prefers-color-scheme: dark)", "print"]) {
      matchMedia(query).addEventListener("change", () => this.paint());
    }
    this.load();
  }

  get by() {
    return $("[data-costs-by][aria-pressed=true]", this.root).dataset.costsBy;
  }

  choose(button) {
    for (const one of $$("[data-costs-by]", this.root)) one.setAttribute("aria-pressed", String(one === button));
    $("[data-costs-month]", this.root).hidden = this.by !== "day";
    this.load();
  }

  async load() {
    this.asked += 1;
    const number = this.asked;
    const query = new URLSearchParams({ by: this.by });
    if (this.by === "day") query.set("month", $("[data-costs-month]", this.root).value);
    let body = null;
    try {
      const answer = await fetch(`${this.root.dataset.costs}?${query}`, {
        headers: { Accept: "application/json", "HX-Request": "true" },
      });
      if (answer.status === 401) {
        location.reload();
        return;
      }
      if (answer.ok) body = await answer.json();
    } catch {
      // Said below.
    }
    // An answer that comes after a later one is old.
    if (number !== this.asked) return;
    $("[data-chart-problem]", this.root).textContent = body ? "" : this.root.dataset.textFailed;
    if (body) this.draw(body);
  }

  draw(data) {
    this.data = data;
    const empty = data.lines.length === 0;
    $("[data-costs-empty]", this.root).hidden = !empty;
    $("[data-costs-table]", this.root).hidden = empty;
    $("[data-costs-overlaps]", this.root).hidden = empty || !data.overlaps;
    this.place.hidden = empty;
    this.paint();
    this.write();
  }

  /** Bars stand on each other, except where an amount is in several of them. */
  paint() {
    this.plot?.destroy();
    this.plot = null;
    if (!this.data?.lines.length) return;
    const { periods, lines, overlaps } = this.data;
    const ink = colours(this.place);
    const places = periods.map((_period, place) => place);
    const sums = places.map(() => 0);
    const heights = lines.map((line) =>
      overlaps ? line.values : line.values.map((value, place) => (sums[place] += value)),
    );
    // The highest first, so that those below it stay in sight.
    const order = lines.map((_line, number) => number).reverse();
    const bars = (number) =>
      overlaps
        ? uPlot.paths.linear()
        : uPlot.paths.bars({ size: [0.7, WIDEST_BAR_PX] }, number);
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: ink.text, font, grid: { stroke: ink.grid, width: 1 }, ticks: { show: false } };
    this.plot = new uPlot(
      {
        width: this.place.clientWidth || 400,
        height: HEIGHT,
        padding: [8, 18, 0, 0],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
        scales: {
          x: { time: false, range: () => [-0.6, periods.length - 0.4] },
          y: { range: (_plot, low, high) => [Math.min(0, low), high > 0 ? high * 1.1 : 1] },
        },
        axes: [
          {
            ...axis,
            grid: { show: false },
            size: 24,
            space: 64,
            incrs: [1, 2, 5, 10],
            values: (_plot, splits) => splits.map((one) => periods[one] ?? ""),
          },
          { ...axis, size: 52, space: 32, values: (_plot, splits) => splits.map((one) => this.figure.format(one)) },
        ],
        series: [
          {},
          ...order.map((number) => ({
            stroke: ink.lines[number % DASHES.length],
            fill: overlaps ? undefined : ink.lines[number % DASHES.length],
            width: overlaps ? 1.5 : 0,
            dash: overlaps ? DASHES[number % DASHES.length] : undefined,
            paths: bars(number),
            points: { show: overlaps && periods.length < 40 },
          })),
        ],
        hooks: { setCursor: [(plot) => this.point(plot.cursor.idx ?? null)] },
      },
      [places, ...order.map((number) => heights[number])],
      this.place,
    );
  }

  /** The row of the table below the pointer. */
  point(place) {
    for (const row of $$("[data-costs-table] tbody tr", this.root)) {
      row.toggleAttribute("data-pointed", Number(row.dataset.place) === place && place !== null);
    }
  }

  write() {
    const { periods, lines, overlaps } = this.data;
    const head = document.createElement("tr");
    const key = (number) => {
      const sign = document.createElement("span");
      sign.className = `cost-key line-${(number % DASHES.length) + 1}`;
      sign.setAttribute("aria-hidden", "true");
      return sign;
    };
    head.append(
      cell("th", this.root.dataset.textPeriod, { scope: "col" }),
      ...lines.map((line, number) => {
        const one = cell("th", line.label, { scope: "col", number: true });
        one.prepend(key(number));
        return one;
      }),
    );
    // The newest first, as people look for it.
    const rows = periods
      .map((period, place) => {
        const row = document.createElement("tr");
        row.dataset.place = place;
        row.append(
          cell("th", period, { scope: "row", main: true }),
          ...lines.map((line) => cell("td", line.texts[place], { number: true, label: line.label })),
        );
        return row;
      })
      .reverse();
    const total = document.createElement("tr");
    total.className = "strong";
    total.append(
      cell("th", this.root.dataset.textTotal, { scope: "row", main: true }),
      ...lines.map((line) => cell("td", line.total, { number: true, label: line.label })),
    );
    $("[data-costs-table] thead", this.root).replaceChildren(head);
    $("[data-costs-table] tbody", this.root).replaceChildren(total, ...rows);
    $("[data-costs-table]", this.root).dataset.overlaps = String(overlaps);
  }

  fit() {
    const width = this.place.clientWidth;
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }
}

for (const root of $$("[data-costs]")) new Costs(root);
