// Requests to the service on this same server.

export const BASE = "/api/v1";
const WAIT_MS = 15000;

/** What the service, or the way to it, answered instead of data; `message` is fit to be read. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export function query(parameters) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters ?? {})) {
    if (value !== null && value !== undefined && value !== "" && value !== false) found.set(name, String(value));
  }
  const shown = found.toString();
  return shown ? `?${shown}` : "";
}

export async function get(path, parameters, signal) {
  const limit = AbortSignal.timeout(WAIT_MS);
  let answer;
  try {
    answer = await fetch(BASE + path + query(parameters), {
      headers: { accept: "application/json" },
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    if (answer.ok) return await answer.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (error instanceof SyntaxError) throw new ApiError("The service answered something that is not JSON.", 0);
    throw new ApiError(limit.aborted ? "The service did not answer within 15 seconds." : "The service cannot be reached.", 0);
  }
  throw new ApiError(await problem(answer), answer.status);
}

async function problem(answer) {
  try {
    const found = await answer.json();
    const fields = Array.isArray(found.errors) ? found.errors.map((e) => e.message ?? e.detail ?? e.msg).filter(Boolean) : [];
    const words = [found.detail ?? found.title, ...fields].filter((part) => typeof part === "string");
    if (words.length) return words.join(" ");
  } catch {
    // an answer without a readable problem is told by its number below
  }
  return `The service answered with status ${answer.status}.`;
}

/** One request at a time for a view: a newer one ends the older, and what came too late is dropped. */
export class Latest {
  #running = null;

  async get(path, parameters) {
    this.stop();
    const mine = (this.#running = new AbortController());
    try {
      return await get(path, parameters, mine.signal);
    } finally {
      if (this.#running === mine) this.#running = null;
    }
  }

  get busy() {
    return this.#running !== null;
  }

  stop() {
    this.#running?.abort();
    this.#running = null;
  }
}

export const aborted = (error) => error?.name === "AbortError";
