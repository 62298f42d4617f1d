/** The schemas that two generators make of docs/openapi.json take an answer of the API, which is this program's argument. */

import assert from "node:assert/strict";

import { zTodoPublic } from "./hey-api/zod.gen";
import { retrieveTodoResponse } from "./orval";

const todo: unknown = JSON.parse(process.argv[2] ?? "");
assert.deepEqual(zTodoPublic.parse(todo), todo);
assert.deepEqual(retrieveTodoResponse.parse(todo), todo);

console.log("both schemas take the todo");
