// One chart: its lines over the time axis and the crosshair that all charts of a page share.
import uPlot from "../../vendor/uplot/uPlot.esm.js";

const HEIGHT = 150;
const SYNC = "charts";
// Dashes tell lines apart where colours do not; the same as in the keys (see charts.js).
export const DASHES = [[], [6, 3], [2, 3], [10, 3, 2, 3], [4, 2], [12, 4]];
const DAY_S = 86_400;
const SHORTEST_SELECTION_PX = 12;

/** The computed colours of the page: light or dark, on screen or on paper. */
export function colours(place) {
  const probe = document.createElement("span");
  place.append(probe);
  const of = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const found = {
    lines: DASHES.map((_dash, number) => of(`--line-${number + 1}`)),
    marks: Object.fromEntries(
      ["ok", "busy", "warn"].map((tone) => [tone, of(`--${tone}-mark`)]).concat([
        ["error", of("--err-mark")],
        ["off", of("--text-3")],
      ]),
    ),
    text: of("--text-2"),
    grid: of("--border"),
  };
  probe.remove();
  return found;
}

/** Points whose neighbours are gaps: no line would show them. */
function alone(values) {
  const found = [];
  for (let at = 0; at < values.length; at += 1) {
    if (values[at] != null && values[at - 1] == null && values[at + 1] == null) found.push(at);
  }
  return found;
}

export class Plot {
  /**
   * place: the element to draw into. times: how moments are written, see charts.js.
   * onCursor(index or null), onSelect(from, to) in seconds.
   */
  constructor(place, { zone, times, onCursor, onSelect }) {
    this.place = place;
    this.zone = zone;
    this.times = times;
    this.onCursor = onCursor;
    this.onSelect = onSelect;
    this.shape = "";
    this.plot = null;
    this.marks = [];
    const [plain, short] = ["standard", "compact"].map(
      (notation) =>
        new Intl.NumberFormat(document.documentElement.lang, { maximumSignificantDigits: 4, notation }),
    );
    // What is wider than the axis is written short.
    this.figure = (value) => (value < 100_000 ? plain : short).format(value);
    new ResizeObserver(() => this.fit()).observe(place);
  }

  /** Draw a chart's lines, each with one value for each of the moments. */
  draw(chart, moments, end, marks) {
    this.chart = chart;
    this.span = [moments[0], end];
    this.marks = marks;
    const data = [moments, ...chart.lines.map((line) => line.values)];
    const shape = chart.lines.map((line) => line.label).join("\n");
    if (this.plot && shape === this.shape) {
      this.plot.setData(data);
      return;
    }
    this.shape = shape;
    this.make(data);
  }

  /** Make it anew, in the colours that hold now. */
  repaint() {
    if (this.plot) this.make(this.plot.data);
  }

  make(data) {
    this.plot?.destroy();
    this.ink = colours(this.place);
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: this.ink.text, font, grid: { stroke: this.ink.grid, width: 1 }, ticks: { show: false } };
    this.plot = new uPlot(
      {
        width: this.place.clientWidth || 400,
        height: HEIGHT,
        padding: [8, 18, 0, 0],
        tzDate: (moment) => uPlot.tzDate(new Date(moment * 1000), this.zone),
        legend: { show: false },
        cursor: {
          y: false,
          sync: { key: SYNC },
          drag: { x: true, y: false, setScale: false },
          points: { size: 6 },
        },
        scales: {
          x: { time: true, range: () => this.span },
          y: { range: (_plot, _low, high) => [0, this.chart.top ?? (high > 0 ? high * 1.1 : 1)] },
        },
        axes: [
          { ...axis, size: 24, space: 64, values: (_plot, splits) => this.moments(splits) },
          { ...axis, size: 52, space: 32, values: (_plot, splits) => splits.map((one) => this.figure(one)) },
        ],
        series: [
          {},
          ...this.chart.lines.map((_line, number) => ({
            stroke: this.ink.lines[number % DASHES.length],
            dash: DASHES[number % DASHES.length],
            width: 1.5,
            spanGaps: false,
            points: { show: true, size: 4, filter: (plot, place) => alone(plot.data[place]) },
          })),
        ],
        hooks: {
          draw: [() => this.drawMarks()],
          setCursor: [(plot) => this.onCursor(plot.cursor.idx ?? null)],
          setSelect: [(plot) => this.select(plot)],
        },
      },
      data,
      this.place,
    );
  }

  /** Times of an axis; where a day begins, the day. */
  moments(splits) {
    const long = splits.length > 1 && splits[1] - splits[0] >= DAY_S;
    return splits.map((moment) => {
      const time = this.times.minutes(moment);
      return long || time === this.times.midnight ? this.times.day(moment) : time;
    });
  }

  drawMarks() {
    const { ctx, bbox } = this.plot;
    const ratio = uPlot.pxRatio;
    ctx.save();
    ctx.lineWidth = ratio;
    for (const mark of this.marks) {
      const left = Math.round(this.plot.valToPos(mark.at, "x", true));
      if (left < bbox.left || left > bbox.left + bbox.width) continue;
      ctx.strokeStyle = ctx.fillStyle = this.ink.marks[mark.tone];
      ctx.setLineDash([2 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left, bbox.top + bbox.height);
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.beginPath();
      ctx.moveTo(left - 4 * ratio, bbox.top - 7 * ratio);
      ctx.lineTo(left + 4 * ratio, bbox.top - 7 * ratio);
      ctx.lineTo(left, bbox.top);
      ctx.fill();
    }
    ctx.restore();
  }

  select(plot) {
    const { left, width } = plot.select;
    if (width < SHORTEST_SELECTION_PX) return;
    const ends = [left, left + width].map((place) => plot.posToVal(place, "x"));
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.onSelect(...ends);
  }

  /** Put the crosshair of all charts on a moment; null takes it away. */
  point(index) {
    const left = index === null ? -10 : this.plot.valToPos(this.plot.data[0][index], "x");
    this.plot.setCursor({ left, top: index === null ? -10 : 10 });
  }

  fit() {
    const width = this.place.clientWidth;
    if (this.plot && width && width !== this.plot.width) this.plot.setSize({ width, height: HEIGHT });
  }
}
