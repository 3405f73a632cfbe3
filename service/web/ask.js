// Asking the service: one image in, its classes or a reason out. Busy is not a reason: it is asked again, when it says.

const TOP_K = 5;
const AT_ONCE = 4; // images under way; the rest wait here rather than in the service's queue
const PATIENCE_MS = 60_000; // for how long a busy service is asked again
const KEY = "api-key"; // kept for as long as the tab is open

let underWay = 0;
const waiting = [];

/** What stands in the way of an answer. `wantsKey`: an API key would help. `again`: trying again may. */
export class Refused extends Error {
  constructor(title, detail, { wantsKey = false, again = false } = {}) {
    super(detail);
    Object.assign(this, { title, wantsKey, again });
  }
}

/** Return {model, predictions, times} of an image; `onBusy(seconds)` is told each time that it has to wait. */
export async function classify(image, onBusy) {
  await place();
  try {
    return await untilAnswered(image, onBusy);
  } finally {
    underWay -= 1;
    waiting.shift()?.();
  }
}

/** Return the health document, or null where this port does not tell. */
export async function health() {
  const response = await fetch("/healthz", { cache: "no-store" });
  return response.status === 404 || response.status === 401 ? null : response.json();
}

/** Send `key` with every request from now on. */
export const useKey = (key) => sessionStorage.setItem(KEY, key);

async function place() {
  if (underWay >= AT_ONCE) await new Promise((resolve) => waiting.push(resolve));
  underWay += 1;
}

async function untilAnswered(image, onBusy) {
  const givesUpAt = performance.now() + PATIENCE_MS;
  for (;;) {
    const startedAt = performance.now();
    const response = await send(image);
    if (response.ok) return { ...(await response.json()), times: times(response, performance.now() - startedAt) };
    const seconds = Number(response.headers.get("Retry-After"));
    if (!seconds || performance.now() + seconds * 1000 > givesUpAt) throw await refusal(response);
    onBusy(seconds);
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000 * (1 + Math.random() / 10)));
  }
}

async function send(image) {
  const key = sessionStorage.getItem(KEY);
  const headers = { "Content-Type": "application/octet-stream", ...(key && { "X-API-Key": key }) };
  try {
    return await fetch(`/classify?top_k=${TOP_K}`, { method: "POST", body: image, headers });
  } catch {
    throw new Refused("No answer", "The service cannot be reached.", { again: true });
  }
}

/** RFC 9457: title and detail are for people. */
async function refusal(response) {
  const problem = await response.json().catch(() => ({}));
  const { title = "Something went wrong", detail = `HTTP ${response.status}` } = problem;
  return new Refused(title, detail, { wantsKey: response.status === 401, again: response.status >= 429 });
}

/** Server-Timing says where the time went, in milliseconds; the rest was the way here and back. */
function times(response, totalMs) {
  const told = response.headers.get("Server-Timing") ?? "";
  const of = (name) => Number(told.match(`${name};dur=([0-9.]+)`)?.[1] ?? NaN);
  return { decode: of("decode"), queue: of("queue"), inference: of("inference"), total: totalMs };
}
