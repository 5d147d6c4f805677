// Selection, batch bar, column choice and page size of lists.
import { $, $$, on, setCookie, text } from "./dom.js";

/** Selected ids by list element id; they outlive a swap of the list. */
const picked = new Map();

function idsOf(list) {
  if (!picked.has(list.id)) picked.set(list.id, new Set());
  return picked.get(list.id);
}

/** Say of each button of the bar how many of the chosen rows allow it now. */
function share(list, rows) {
  const total = rows.length;
  for (const button of $$("[data-batch]", list)) {
    // A row that does not tell allows everything until the server refuses it.
    const allows = (row) => row.dataset.allows?.split(" ").includes(button.dataset.batch) ?? true;
    const n = rows.filter(allows).length;
    const sign = $("[data-batch-share]", button);
    const words = (key) => text(key).replace("{n}", n).replace("{total}", total);
    sign.hidden = n === total;
    sign.textContent = n === total ? "" : ` ${words("share")}`;
    if (n === total) delete button.dataset.tip;
    else button.dataset.tip = n ? words("shareReason") : text("shareNone");
    if (n || !total) button.removeAttribute("aria-disabled");
    else button.setAttribute("aria-disabled", "true");
  }
}

/** Cast a shadow at the edge behind which there are more columns. */
function shade(box) {
  const more = box.scrollWidth - box.clientWidth - Math.abs(box.scrollLeft);
  box.toggleAttribute("data-more", more > 1);
}

const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const box = target.closest("[data-scrolls]");
    if (box) shade(box);
  }
});

function watch(list) {
  for (const box of $$("[data-scrolls]", list)) {
    sizes.observe(box);
    for (const table of box.children) sizes.observe(table);
    shade(box);
  }
}

function show(list) {
  const ids = idsOf(list);
  const boxes = $$("[data-pick]", list);
  for (const box of boxes) box.checked = ids.has(box.value);
  const checked = boxes.filter((box) => box.checked);
  const all = $("[data-pick-all]", list);
  if (all) {
    all.checked = boxes.length > 0 && checked.length === boxes.length;
    all.indeterminate = checked.length > 0 && checked.length < boxes.length;
  }
  list.toggleAttribute("data-selected", checked.length > 0);
  const count = $("[data-batch-count]", list);
  if (count) {
    count.textContent =
      checked.length === 1 ? text("selectedOne") : text("selectedMany").replace("{n}", checked.length);
  }
  share(
    list,
    checked.map((box) => box.closest("tr")),
  );
}

/** After rows were replaced: drop what is gone, draw the rest. */
export function refreshSelection(list) {
  const present = new Set($$("[data-pick]", list).map((box) => box.value));
  const ids = idsOf(list);
  for (const id of ids) if (!present.has(id)) ids.delete(id);
  show(list);
}

function reload(list, changes) {
  const url = new URL(location.href);
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) url.searchParams.delete(key);
    else url.searchParams.set(key, value);
  }
  url.searchParams.delete("page");
  const target = list.dataset.liveUrl + url.search;
  window.htmx.ajax("GET", target, { target: `#${list.id}`, swap: "outerHTML" });
  history.replaceState(history.state, "", target);
}

let lastPick = null;

export function startLists() {
  on("change", "[data-pick]", (_event, box) => {
    const list = box.closest(".list");
    const ids = idsOf(list);
    if (box.checked) ids.add(box.value);
    else ids.delete(box.value);
    show(list);
  });
  on("click", "[data-pick]", (event, box) => {
    const list = box.closest(".list");
    const boxes = $$("[data-pick]", list);
    const from = boxes.findIndex((other) => other.value === lastPick);
    const to = boxes.indexOf(box);
    if (event.shiftKey && from >= 0) {
      const ids = idsOf(list);
      for (const other of boxes.slice(Math.min(from, to), Math.max(from, to) + 1)) {
        if (box.checked) ids.add(other.value);
        else ids.delete(other.value);
      }
      show(list);
    }
    lastPick = box.value;
  });
  on("change", "[data-pick-all]", (_event, all) => {
    const list = all.closest(".list");
    const ids = idsOf(list);
    ids.clear();
    if (all.checked) for (const box of $$("[data-pick]", list)) ids.add(box.value);
    show(list);
  });
  on("click", "[data-pick-none]", (_event, button) => {
    const list = button.closest(".list");
    idsOf(list).clear();
    show(list);
    $("[data-pick-all]", list)?.focus();
  });
  on("change", "[data-column]", (_event, box) => {
    const list = box.closest(".list");
    const keys = $$("[data-column]:checked", list).map((other) => other.dataset.column);
    // "-" keeps an empty choice apart from no choice at all.
    setCookie(`scloud_cols_${list.dataset.list}`, keys.length ? keys.join(".") : "-");
    list.dataset.columnsChanged = "";
  });
  document.addEventListener(
    "toggle",
    (event) => {
      const list = event.target.closest?.(".list");
      if (event.newState === "closed" && list?.hasAttribute("data-columns-changed")) {
        // From now on the choice counts, not the columns of a saved view.
        reload(list, { cols: null });
      }
    },
    true,
  );
  on("change", "[data-page-size]", (_event, select) => {
    reload(select.closest(".list"), { size: select.value });
  });
  let timer = 0;
  on("input", "[data-list-search]", (_event, input) => {
    clearTimeout(timer);
    timer = setTimeout(() => input.form?.requestSubmit(), 250);
  });
  document.body.addEventListener("htmx:configRequest", (event) => {
    const form = event.detail.elt;
    if (!form.classList?.contains("list-bar")) return;
    // Short URLs: leave out what is empty, and the rows that happen to be selected.
    for (const [key, value] of [...event.detail.parameters.entries()]) {
      if (value === "" || key === "csrfmiddlewaretoken") event.detail.parameters.delete(key);
    }
  });
  const draw = () => {
    for (const list of $$(".list")) {
      refreshSelection(list);
      watch(list);
    }
  };
  document.body.addEventListener("htmx:afterSettle", draw);
  document.addEventListener("scroll", (event) => event.target.matches?.("[data-scrolls]") && shade(event.target), {
    capture: true,
    passive: true,
  });
  // When the results of a batch are closed, what was refused stays selected, to be tried otherwise.
  document.addEventListener(
    "close",
    (event) => {
      const done = $("[data-batch-done]", event.target);
      if (!done) return;
      const refused = $$("[data-refused]", done).map((row) => row.dataset.refused);
      for (const list of $$(".list")) {
        picked.set(list.id, new Set(refused));
        refreshSelection(list);
      }
    },
    true,
  );
  draw();
}
