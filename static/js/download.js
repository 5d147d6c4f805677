// Downloads of lists: the server tells how far it is, then sends the file (see scloud/web/export.py).
import { $, on, text } from "./dom.js";
import { expose, toast } from "./toast.js";

const TYPE = "application/vnd.scloud.download";

/** Read the lines of progress; return the last one and what has come of the file behind it. */
async function readLines(reader, onProgress) {
  const decoder = new TextDecoder();
  let bytes = new Uint8Array();
  for (;;) {
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10)) {
      const line = JSON.parse(decoder.decode(bytes.subarray(0, end)));
      bytes = bytes.slice(end + 1);
      if (line.file || line.error) return { line, rest: bytes };
      onProgress(line);
    }
    const { done, value } = await reader.read();
    if (done) throw new TypeError("the answer ended early");
    const joined = new Uint8Array(bytes.length + value.length);
    joined.set(bytes);
    joined.set(value, bytes.length);
    bytes = joined;
  }
}

async function readFile(reader, first, size) {
  const parts = [first];
  let length = first.length;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
  }
  if (length !== size) throw new TypeError("the answer ended early");
  return new Blob(parts);
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function show(element, { rows, total }) {
  if (!total) return;
  const count = (number) => number.toLocaleString(document.documentElement.lang);
  $("[data-download-text]", element).textContent = text("rowsWritten")
    .replace("{rows}", count(rows))
    .replace("{total}", count(total));
  const bar = $("progress", element);
  bar.max = total;
  bar.value = rows;
}

/** Say what the server refused, as HTMX would. */
function refuse(response) {
  if (response.redirected) {
    // The session is over, or the list is not what it was: the page itself leads on.
    location.reload();
    return;
  }
  const place = response.headers.get("HX-Redirect");
  if (place) {
    location.assign(place);
    return;
  }
  const { toast: entries } = JSON.parse(response.headers.get("HX-Trigger") ?? "{}");
  if (!entries) throw new TypeError("the answer is no download");
  entries.forEach(toast);
}

async function download(url, element, signal) {
  const response = await fetch(url, { signal, headers: { "HX-Request": "true" } });
  if (response.headers.get("Content-Type") !== TYPE) {
    refuse(response);
    return;
  }
  const reader = response.body.getReader();
  const { line, rest } = await readLines(reader, (progress) => show(element, progress));
  if (line.error) {
    toast({ text: line.error.message, level: "error", remedy: line.error.remedy });
    return;
  }
  save(await readFile(reader, rest, line.bytes), line.file);
}

export function startDownloads() {
  on("click", "a[data-download]", async (event, link) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const url = new URL(link.href);
    url.searchParams.set("progress", "1");
    const element = $("#download-template").content.firstElementChild.cloneNode(true);
    const stop = new AbortController();
    $("[data-download-cancel]", element).addEventListener("click", () => stop.abort());
    $("#toasts").append(element);
    expose();
    try {
      await download(url, element, stop.signal);
    } catch (error) {
      if (!stop.signal.aborted) toast({ text: text("failed"), level: "error", remedy: text("retry") });
    } finally {
      element.remove();
      expose();
    }
  });
}
