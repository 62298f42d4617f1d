/** Call every operation with a generated client. The first argument is the URL of the API. */

import assert from "node:assert/strict";

import createClient from "openapi-fetch";

import type { components, paths } from "./schema.js";

type Todo = components["schemas"]["TodoPublic"];
type Problem = components["schemas"]["Problem"];

const baseUrl = process.argv[2];
assert(baseUrl !== undefined);

const api = createClient<paths>({ baseUrl, headers: { "X-User-Id": "typescript" } });
const nobody = createClient<paths>({ baseUrl });

function success<Data>(result: { data?: Data; error?: Problem; response: Response }, status: number): Data {
  assert.equal(result.response.status, status, JSON.stringify(result.error));
  assert(result.data !== undefined);
  return result.data;
}

function failure(result: { error?: Problem; response: Response }, status: number): Problem {
  assert.equal(result.response.status, status);
  assert.equal(result.response.headers.get("Content-Type"), "application/problem+json");
  assert(result.error !== undefined);
  assert.equal(result.error.status, status);
  assert.equal(result.error.request_id, result.response.headers.get("X-Request-Id"));
  return result.error;
}

function header(result: { response: Response }, name: string): string {
  const value = result.response.headers.get(name);
  assert(value !== null, name);
  return value;
}

// Create, also with an Idempotency-Key.
const key = { params: { header: { "Idempotency-Key": "typescript-1" } } };
const created = await api.POST("/v1/todos", { ...key, body: { title: "  Buy milk ", description: "Two of them" } });
const todo: Todo = success(created, 201);
assert.equal(todo.title, "Buy milk");
assert.equal(todo.is_completed, false);
assert.equal(header(created, "Location"), `/v1/todos/${todo.id}`);
const replayed = await api.POST("/v1/todos", { ...key, body: { title: "Buy milk", description: "Two of them" } });
assert.deepEqual(success(replayed, 201), todo);
assert.equal(header(replayed, "Idempotency-Replayed"), "true");

// List with a limit, a cursor and a filter.
success(await api.POST("/v1/todos", { body: { title: "Done", is_completed: true } }), 201);
const first = success(await api.GET("/v1/todos", { params: { query: { limit: 1 } } }), 200);
assert.deepEqual(first.items.map((item) => item.title), ["Done"]);
assert(first.next_cursor !== null);
const last = success(await api.GET("/v1/todos", { params: { query: { limit: 1, cursor: first.next_cursor } } }), 200);
assert.deepEqual(last, { items: [todo], next_cursor: null });
const open = success(await api.GET("/v1/todos", { params: { query: { is_completed: false } } }), 200);
assert.deepEqual(open.items, [todo]);

// Retrieve, also with If-None-Match.
const path = { id: todo.id };
const retrieved = await api.GET("/v1/todos/{id}", { params: { path } });
assert.deepEqual(success(retrieved, 200), todo);
const tag = todo.etag;
assert.equal(header(retrieved, "ETag"), tag);
const unchanged = await api.GET("/v1/todos/{id}", { params: { path, header: { "If-None-Match": tag } } });
assert.equal(unchanged.response.status, 304);

// Update, replace and toggle, also with If-Match.
const ifMatch = { params: { path, header: { "If-Match": tag } } };
const updated = await api.PATCH("/v1/todos/{id}", { ...ifMatch, body: { description: null } });
assert.equal(success(updated, 200).description, null);
const late = failure(await api.PUT("/v1/todos/{id}", { ...ifMatch, body: { title: "Too late" } }), 412);
assert.equal(late.type, "urn:todo-api:problem:precondition-failed");
const merged = await api.PATCH("/v1/todos/{id}", {
  params: { path },
  headers: { "Content-Type": "application/merge-patch+json" },
  body: { title: "Buy oat milk" },
});
assert.equal(success(merged, 200).title, "Buy oat milk");
const replaced = success(await api.PUT("/v1/todos/{id}", { params: { path }, body: { title: "Buy tea" } }), 200);
assert.deepEqual([replaced.title, replaced.description, replaced.is_completed], ["Buy tea", null, false]);
// What was read, changed and sent back, also after it was serialized and loaded again.
const loaded: Todo = JSON.parse(JSON.stringify(replaced));
assert.equal(loaded.etag, replaced.etag);
const again = success(await api.PUT("/v1/todos/{id}", { params: { path }, body: { ...loaded, title: "Sent back" } }), 200);
assert.deepEqual({ ...again, updated_at: "", etag: "" }, { ...replaced, title: "Sent back", updated_at: "", etag: "" });
const patched = success(await api.PATCH("/v1/todos/{id}", { params: { path }, body: { ...again, title: "Patched" } }), 200);
assert.deepEqual({ ...patched, updated_at: "", etag: "" }, { ...again, title: "Patched", updated_at: "", etag: "" });
const unset = await api.POST("/v1/todos", { body: { title: "Null means false", is_completed: null } });
assert.equal(success(unset, 201).is_completed, false);
const toggled = success(await api.POST("/v1/todos/{id}/toggle", { params: { path } }), 200);
assert.equal(toggled.is_completed, true);
assert(toggled.updated_at > toggled.created_at);

// Errors.
const blank = failure(await api.PATCH("/v1/todos/{id}", { params: { path }, body: { title: " " } }), 422);
assert.deepEqual(blank.errors, [{ in: "body", field: "title", detail: "Must not be blank" }]);
const unidentified = await nobody.GET("/v1/todos");
assert.equal(failure(unidentified, 401).type, "urn:todo-api:problem:not-identified");
assert.equal(header(unidentified, "WWW-Authenticate"), "X-User-Id");

// Delete.
const deleted = await api.DELETE("/v1/todos/{id}", { params: { path } });
assert.equal(deleted.response.status, 204);
assert.equal(failure(await api.GET("/v1/todos/{id}", { params: { path } }), 404).title, "Todo not found");

// Probes.
assert.deepEqual(success(await nobody.GET("/health"), 200), { status: "ok" });
assert.deepEqual(success(await nobody.GET("/ready"), 200), { status: "ready" });

// Type errors: the compiler reports a @ts-expect-error that has no error.
// @ts-expect-error: title is required
const untitled: components["schemas"]["TodoCreate"] = {};
// @ts-expect-error: unknown field
const misspelt: components["schemas"]["TodoUpdate"] = { is_done: true };
// @ts-expect-error: is_completed is a boolean
const text: components["schemas"]["TodoCreate"] = { title: "x", is_completed: "true" };
// @ts-expect-error: title is not nullable
const cleared: components["schemas"]["TodoUpdate"] = { title: null };
void [untitled, misspelt, text, cleared];

console.log("every operation works");
