// The charts of a VM: fetching, time range, refresh, crosshair, figures, tables.
import { $, $$, setCookie } from "../dom.js";
import { DASHES, Plot } from "./plot.js";

const SVG = "http://www.w3.org/2000/svg";
// A mark is told by the crosshair within so many steps.
const NEAR_STEPS = 1;

function svg(name, attributes, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function cell(name, text, scope) {
  const element = document.createElement(name);
  element.textContent = text;
  if (scope) element.scope = scope;
  return element;
}

/** How moments (seconds) are written in the user's time zone. */
function clock(zone) {
  const write = (options) => {
    const format = new Intl.DateTimeFormat(document.documentElement.lang, { timeZone: zone, ...options });
    return (moment) => format.format(moment * 1000);
  };
  const hour = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const day = { month: "short", day: "numeric" };
  const minutes = write(hour);
  const utc = new Intl.DateTimeFormat(document.documentElement.lang, { timeZone: "UTC", ...hour });
  const parts = new Intl.DateTimeFormat("en", {
    timeZone: zone,
    year: "numeric",
    month: "2-digit",
    day: "2-digit",
    ...hour,
  });
  return {
    minutes,
    midnight: utc.format(0),
    day: write(day),
    full: write({ ...day, ...hour, second: "2-digit" }),
    /** As an input of type datetime-local takes it. */
    typed(moment) {
      const at = Object.fromEntries(parts.formatToParts(moment * 1000).map((part) => [part.type, part.value]));
      return `${at.year}-${at.month}-${at.day}T${at.hour}:${at.minute}`;
    },
  };
}

class Charts {
  constructor(root) {
    this.root = root;
    this.texts = root.dataset;
    this.times = clock(root.dataset.zone);
    this.number = new Intl.NumberFormat(document.documentElement.lang, { maximumSignificantDigits: 4 });
    this.asked = 0;
    this.data = null;
    this.index = null;
    this.figures = new Map(
      $$("[data-chart]", root).map((figure) => {
        const plot = new Plot($("[data-chart-plot]", figure), {
          zone: root.dataset.zone,
          times: this.times,
          onCursor: (index) => this.show(index),
          onSelect: (from, to) => this.choose(from, to),
        });
        return [figure.dataset.chart, { figure, plot }];
      }),
    );
    this.readUrl();
    this.listen();
    this.load();
    setInterval(() => this.refresh(), Number(root.dataset.refreshS) * 1000);
  }

  // -- what is asked -------------------------------------------------------------------------

  /** The URL of the page says what is shown, so that it can be reloaded and passed on. */
  readUrl() {
    const params = new URLSearchParams(location.search);
    const form = $("[data-chart-own]", this.root);
    if (params.has("start") && params.has("end")) {
      form.elements.start.value = params.get("start");
      form.elements.end.value = params.get("end");
      this.press("own");
    } else if ($(`[data-range="${CSS.escape(params.get("range") ?? "")}"]`, this.root)) {
      this.press(params.get("range"));
    }
    for (const select of $$("[data-chart-part]", this.root)) {
      if ([...select.options].some((option) => option.value === params.get(select.name))) {
        select.value = params.get(select.name);
      }
    }
  }

  press(range) {
    for (const button of $$("[data-range]", this.root)) {
      button.setAttribute("aria-pressed", String(button.dataset.range === range));
    }
    const own = range === "own";
    $("[data-range=own]", this.root).setAttribute("aria-expanded", String(own));
    $("[data-chart-own]", this.root).hidden = !own;
  }

  get range() {
    return $("[data-range][aria-pressed=true]", this.root).dataset.range;
  }

  query() {
    const query = new URLSearchParams();
    if (this.range === "own") {
      const form = $("[data-chart-own]", this.root);
      query.set("start", form.elements.start.value);
      query.set("end", form.elements.end.value);
    } else {
      query.set("range", this.range);
    }
    for (const select of $$("[data-chart-part]", this.root)) {
      if (select.selectedIndex > 0) query.set(select.name, select.value);
    }
    return query;
  }

  remember(query) {
    const url = new URL(location.href);
    for (const name of ["range", "start", "end", "disk", "network"]) url.searchParams.delete(name);
    for (const [name, value] of query) url.searchParams.set(name, value);
    history.replaceState(history.state, "", url);
    const file = $("[data-chart-file]", this.root);
    file.href = `${file.dataset.chartFile}?${query}`;
  }

  async load({ passive = false } = {}) {
    this.asked += 1;
    const number = this.asked;
    const query = this.query();
    if (!passive) {
      this.remember(query);
      this.root.setAttribute("data-loading", "");
    }
    try {
      const headers = { Accept: "application/json", "HX-Request": "true" };
      if (passive) headers["X-Scloud-Passive"] = "1";
      const answer = await fetch(`${this.root.dataset.charts}?${query}`, { headers });
      if (answer.status === 401) {
        location.reload();
        return;
      }
      const json = answer.headers.get("Content-Type") === "application/json";
      const body = json ? await answer.json() : null;
      // An answer that comes after a later one is old.
      if (number !== this.asked) return;
      if (answer.ok && body) this.draw(body);
      else this.fail(body);
    } catch {
      if (number === this.asked) this.fail(null);
    } finally {
      if (number === this.asked) this.root.removeAttribute("data-loading");
    }
  }

  refresh() {
    const on = $("[data-chart-refresh]", this.root).checked;
    if (on && this.range !== "own" && !document.hidden) this.load({ passive: true });
  }

  fail(body) {
    const own = this.range === "own" && body?.message;
    $("#chart-own-error").textContent = own ? `${body.message} ${body.remedy ?? ""}` : "";
    $("[data-chart-problem]", this.root).textContent = own ? "" : (body?.message ?? this.texts.textFailed);
    for (const { figure } of this.figures.values()) {
      $("[data-chart-plot]", figure).removeAttribute("aria-busy");
    }
  }

  // -- what is shown -------------------------------------------------------------------------

  draw(data) {
    this.data = data;
    this.moments = Array.from({ length: data.points }, (_, number) => data.start + number * data.step_s);
    $("#chart-own-error").textContent = "";
    $("[data-chart-problem]", this.root).textContent = "";
    const end = data.start + data.points * data.step_s;
    for (const chart of data.charts) {
      const { figure, plot } = this.figures.get(chart.key);
      const place = $("[data-chart-plot]", figure);
      place.removeAttribute("aria-busy");
      place.hidden = chart.lines.length === 0;
      $("[data-chart-empty]", figure).hidden = chart.lines.length > 0;
      $("[data-chart-figures]", figure).hidden = chart.lines.length === 0;
      $("[data-chart-unit]", figure).textContent = chart.lines.length ? chart.unit : "";
      if (chart.lines.length) {
        plot.draw(chart, this.moments, end, data.marks);
        this.writeFigures(figure, chart);
      }
    }
    this.writeMarks(data.marks);
    this.writeTables();
    this.show(this.index === null ? null : Math.min(this.index, data.points - 1));
    this.root.dataset.points = data.points;
    this.root.dataset.now = data.now;
  }

  writeFigures(figure, chart) {
    const title = $(".chart-title .strong", figure).textContent;
    const rows = chart.lines.map((line, number) => {
      const row = document.createElement("tr");
      const name = cell("th", line.label || title, "row");
      name.title = line.label || title;
      const place = number % DASHES.length;
      const dash = svg("path", { d: "M0 4H18", "stroke-dasharray": DASHES[place].join(" ") });
      name.prepend(svg("svg", { class: `chart-key line-${place + 1}`, viewBox: "0 0 18 8", "aria-hidden": "true" }, dash));
      row.append(name, cell("td", ""), cell("td", line.last), cell("td", line.average), cell("td", line.peak));
      return row;
    });
    $("[data-chart-figures] tbody", figure).replaceChildren(...rows);
  }

  writeMarks(marks) {
    const list = $("[data-chart-marks]", this.root);
    list.hidden = marks.length === 0;
    list.replaceChildren(
      ...marks.map((mark) => {
        const item = document.createElement("li");
        const shape = svg("path", { d: "M0 1H10L5 10Z" });
        item.append(
          svg("svg", { class: `chart-mark mark-${mark.tone}`, viewBox: "0 0 10 10", "aria-hidden": "true" }, shape),
          cell("time", this.times.full(mark.at)),
          cell("span", mark.label),
        );
        return item;
      }),
    );
  }

  /** Tables are made when somebody looks at them: there are thousands of cells. */
  writeTables() {
    const shown = this.root.dataset.view === "table";
    for (const chart of this.data.charts) {
      const { figure } = this.figures.get(chart.key);
      const place = $("[data-chart-values]", figure);
      place.hidden = !shown || chart.lines.length === 0;
      if (place.hidden) {
        place.replaceChildren();
        continue;
      }
      const title = $(".chart-title .strong", figure).textContent;
      const head = document.createElement("tr");
      const unit = chart.unit ? ` (${chart.unit})` : "";
      head.append(
        cell("th", this.texts.textTime, "col"),
        ...chart.lines.map((line) => cell("th", `${line.label || title}${unit}`, "col")),
      );
      const rows = this.moments.map((moment, number) => {
        const row = document.createElement("tr");
        const values = chart.lines.map((line) => cell("td", this.value(line.values[number])));
        row.append(cell("th", this.times.full(moment), "row"), ...values);
        return row;
      });
      const table = document.createElement("table");
      const [thead, tbody] = [document.createElement("thead"), document.createElement("tbody")];
      thead.append(head);
      // The newest first, as people look for it.
      tbody.append(...rows.reverse());
      table.append(thead, tbody);
      place.replaceChildren(table);
    }
  }

  value(number) {
    return number === null ? "—" : this.number.format(number);
  }

  // -- the crosshair -------------------------------------------------------------------------

  /** Write the values under the crosshair; it is the same moment in all charts. */
  show(index) {
    this.index = index;
    for (const chart of this.data?.charts ?? []) {
      const { figure } = this.figures.get(chart.key);
      $("[data-chart-at]", figure).textContent = index === null ? "" : this.times.minutes(this.moments[index]);
      const rows = $$("[data-chart-figures] tbody tr", figure);
      chart.lines.forEach((line, number) => {
        rows[number].children[1].textContent = index === null ? "" : this.value(line.values[index]);
      });
    }
  }

  /** Move the crosshair by keys, and tell what is there. */
  move(event, key) {
    const last = this.data.points - 1;
    const from = this.index ?? last + 1;
    const next = {
      ArrowLeft: from - 1,
      ArrowRight: from + 1,
      PageUp: from - 10,
      PageDown: from + 10,
      Home: 0,
      End: last,
      Escape: null,
    }[event.key];
    const { figure, plot } = this.figures.get(key);
    const chart = this.data.charts.find((one) => one.key === key);
    if (next === undefined || !chart.lines.length) return;
    event.preventDefault();
    const index = next === null ? null : Math.min(Math.max(next, 0), last);
    plot.point(index);
    this.show(index);
    if (index === null) return;
    const moment = this.moments[index];
    const title = $(".chart-title .strong", figure).textContent;
    const values = chart.lines.map((line) => {
      const value = line.values[index];
      const shown = value === null ? this.texts.textNone : `${this.value(value)} ${chart.unit}`;
      return `${line.label || title}: ${shown}`;
    });
    const near = this.data.marks
      .filter((mark) => Math.abs(mark.at - moment) <= NEAR_STEPS * this.data.step_s)
      .map((mark) => mark.label);
    $("[data-chart-readout]", this.root).textContent = [this.times.full(moment), ...values, ...near].join(", ");
  }

  /** A time that was marked with the mouse becomes the range. */
  choose(from, to) {
    const form = $("[data-chart-own]", this.root);
    form.elements.start.value = this.times.typed(Math.floor(from / 60) * 60);
    form.elements.end.value = this.times.typed(Math.ceil(to / 60) * 60);
    this.press("own");
    this.load();
  }

  // -- controls ------------------------------------------------------------------------------

  listen() {
    const root = this.root;
    root.addEventListener("click", (event) => {
      const button = event.target.closest("[data-range]");
      if (!button) return;
      this.press(button.dataset.range);
      if (button.dataset.range !== "own") {
        this.load();
        return;
      }
      const form = $("[data-chart-own]", root);
      if (!form.elements.start.value && this.data) {
        form.elements.start.value = this.times.typed(this.data.start);
        form.elements.end.value = this.times.typed(this.data.now);
      }
      form.elements.start.focus();
    });
    $("[data-chart-own]", root).addEventListener("submit", (event) => {
      event.preventDefault();
      this.load();
    });
    for (const select of $$("[data-chart-part]", root)) select.addEventListener("change", () => this.load());
    $("[data-chart-table]", root).addEventListener("click", (event) => {
      const shown = root.dataset.view !== "table";
      root.dataset.view = shown ? "table" : "chart";
      event.currentTarget.setAttribute("aria-pressed", String(shown));
      if (this.data) this.writeTables();
    });
    $("[data-chart-refresh]", root).addEventListener("change", (event) => {
      setCookie("scloud_chart_refresh", event.target.checked ? "on" : "off");
      this.refresh();
    });
    for (const [key, { figure }] of this.figures) {
      const place = $("[data-chart-plot]", figure);
      place.title = this.texts.textKeys;
      place.addEventListener("keydown", (event) => this.data && this.move(event, key));
    }
    document.addEventListener("visibilitychange", () => this.refresh());
    const repaint = () => {
      for (const { plot } of this.figures.values()) {
        plot.fit();
        plot.repaint();
      }
    };
    for (const query of ["(prefers-color-scheme: dark)", "print"]) {
      matchMedia(query).addEventListener("change", repaint);
    }
  }
}

for (const root of $$("[data-charts]")) new Charts(root);
