// docs/calling.md explains this module.

const API = "http://127.0.0.1:8000";
const CALLER = { "X-User-Id": "ada" }; // or { Authorization: `Bearer ${token}` }

export interface Draft {
  title: string;
  description?: string | null;
  is_completed?: boolean;
}

export interface Todo extends Required<Draft> {
  id: string;
  user_id: string;
  created_at: string;
  updated_at: string;
  etag: string; // this version of the todo, for If-Match and If-None-Match
}

/** Sends one request, once. Every error is thrown. A `signal` of your own can end it before the 35 s are over. */
export async function send(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: object,
  signal?: AbortSignal,
): Promise<Response> {
  const limit = AbortSignal.timeout(35_000); // API Gateway itself gives up earlier
  const response = await fetch(API + path, {
    method,
    headers: { ...CALLER, "Content-Type": "application/json", ...headers },
    body: body === undefined ? null : JSON.stringify(body),
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
  });
  if (response.ok || response.status === 304) return response;
  throw new Problem(response, await response.json().catch(() => ({})));
}

export interface Invalid {
  in: "body" | "query" | "path" | "header";
  field: string; // "" means the whole
  detail: string;
}

/** An answer that is an error. */
export class Problem extends Error {
  readonly status: number;
  readonly type: string; // "about:blank": API Gateway's own answer, which has no type
  readonly errors: Invalid[];
  readonly requestId: string | undefined;
  readonly retryAfter: number; // seconds

  constructor(response: Response, body: { type?: string; detail?: string; errors?: Invalid[]; request_id?: string }) {
    super(body.detail ?? `HTTP ${response.status}`);
    this.status = response.status;
    this.type = body.type ?? "about:blank";
    this.errors = body.errors ?? [];
    this.requestId = body.request_id;
    this.retryAfter = Number(response.headers.get("Retry-After") ?? 1);
  }
}

export type Outcome = "not-executed" | "unknown" | "refused";

/** What is known about a request that has thrown `error`. */
export function outcome(error: unknown): Outcome {
  if (!(error instanceof Problem)) return "unknown"; // no answer, or none that the browser shows
  if (error.status === 429 || error.type.endsWith(":not-executed")) return "not-executed";
  return error.status < 500 ? "refused" : "unknown";
}

/**
 * Tries up to four times, with pauses of about 1, 2 and 4 s: 8 s in all when the answers come at once, 41 s with a database
 * that does not answer, 150 s with a network that does not. Where a person has to act first, it tries once. What must not be
 * executed twice has to say so: `retry(attempt, ["not-executed"])`.
 */
export async function retry<T>(
  attempt: () => Promise<T>,
  again: Outcome[] = ["not-executed", "unknown"],
  signal?: AbortSignal,
): Promise<T> {
  for (let factor = 1; ; factor *= 2) {
    try {
      return await attempt();
    } catch (error) {
      const seconds = error instanceof Problem ? error.retryAfter : 1;
      if (factor > 4 || seconds > 10 || signal?.aborted || !again.includes(outcome(error))) throw error;
      const spread = 1 + Math.random() / 4; // so that not everybody comes back at the same moment
      await new Promise((resolve, reject) => {
        setTimeout(resolve, 1000 * seconds * factor * spread);
        signal?.addEventListener("abort", () => reject(signal.reason));
      });
    }
  }
}

export async function create(key: string, draft: Draft): Promise<Todo> {
  return retry(async () => (await send("POST", "/v1/todos", { "Idempotency-Key": key }, draft)).json());
}

/** The caller's todos, newest first: `for await (const todo of todos({ is_completed: "false" })) …` */
export async function* todos(filter: { is_completed?: "true" | "false"; limit?: string } = {}): AsyncGenerator<Todo> {
  const query = new URLSearchParams({ limit: "100", ...filter });
  for (;;) {
    const page: { items: Todo[]; next_cursor: string | null } = await retry(async () =>
      (await send("GET", `/v1/todos?${query}`)).json(),
    );
    yield* page.items;
    if (page.next_cursor === null) return;
    query.set("cursor", page.next_cursor);
  }
}

export async function read(id: string): Promise<Todo> {
  return retry(async () => (await send("GET", `/v1/todos/${id}`)).json());
}

/** Changes a todo; `change` is asked again when somebody was faster, and sees what they have made of it. */
export async function edit(seen: Todo, change: (todo: Todo) => Partial<Draft>): Promise<Todo> {
  const wanted = change(seen);
  try {
    return await retry(async () =>
      (await send("PATCH", `/v1/todos/${seen.id}`, { "If-Match": seen.etag }, wanted)).json(),
    );
  } catch (error) {
    if (!(error instanceof Problem && error.status === 412)) throw error;
    const now = await read(seen.id);
    const arrived = Object.entries(wanted).every(([field, value]) => now[field as keyof Draft] === value);
    return arrived ? now : edit(now, change);
  }
}

export async function toggle(seen: Todo): Promise<Todo> {
  try {
    return await retry(async () =>
      (await send("POST", `/v1/todos/${seen.id}/toggle`, { "If-Match": seen.etag })).json(),
    );
  } catch (error) {
    if (!(error instanceof Problem && error.status === 412)) throw error;
    const now = await read(seen.id);
    return now.is_completed !== seen.is_completed ? now : toggle(now); // flipped already, or changed otherwise
  }
}

export async function refresh(known: Todo): Promise<Todo> {
  return retry(async () => {
    const response = await send("GET", `/v1/todos/${known.id}`, { "If-None-Match": known.etag });
    return response.status === 304 ? known : response.json();
  });
}

/** Deletes a todo, if nobody has changed it since it was seen. */
export async function remove(seen: Todo): Promise<void> {
  try {
    await retry(() => send("DELETE", `/v1/todos/${seen.id}`, { "If-Match": seen.etag }));
  } catch (error) {
    // 404: it is gone, perhaps by a try whose answer was lost.
    if (!(error instanceof Problem && error.status === 404)) throw error;
  }
}
