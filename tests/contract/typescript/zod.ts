/** Validate a response of the API, the first argument, with the zod schemas of two generators. */

import assert from "node:assert/strict";

import { zTodoPublic } from "./hey-api/zod.gen";
import { retrieveTodoResponse } from "./orval";

const todo: unknown = JSON.parse(process.argv[2] ?? "");
assert.deepEqual(zTodoPublic.parse(todo), todo);
assert.deepEqual(retrieveTodoResponse.parse(todo), todo);

console.log("both schemas accept the todo");
