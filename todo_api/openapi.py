"""The OpenAPI document: what FastAPI reads off the operations, and what it cannot know. Built when first asked for.

Types and limits stand in `models`, and each operation's statuses beside it in `routes`. Here are the texts, the
headers, the errors and the examples; the tests send each example, and compare the answers.
"""

from typing import Any, Literal

from fastapi import FastAPI

from todo_api.identity import HEADER
from todo_api.problems import MEDIA_TYPE, Problem

_JSON = "application/json"

_INTRODUCTION = """\
Every request below `/v1` names its user, and sees nobody else's todos. To try the operations here, press *Authorize*,
which tells what is asked for; create a todo, and use the id in the answer.

- Bodies are JSON in UTF-8. Unknown fields, and unknown parameters of the list, are refused (422).
- Every error of the API is `application/problem+json` (RFC 9457); tell them apart by `type`, and expect new ones. API
  Gateway itself answers some requests, with 413, 429, 500 or 503 and `{"message": …}` instead.
- An `ETag` stands for one version of a todo. With `If-Match` a write goes on only if nobody has changed it since.
- A create with an `Idempotency-Key` makes one todo, however often it is sent.
"""

_TAGS = [
    {"name": "todos", "description": "The caller's own todos."},
    {"name": "probes", "description": "Whether the service works. These need no user."},
]

_SECURITY_SCHEMES = {
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": HEADER,
        "description": "The caller's user id: 1 to 255 visible ASCII characters, such as `alice`. Nothing is verified.",
    },
    "authorizer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token that API Gateway's JWT authorizer verifies. The user id is its claim `sub`.",
    },
}

_REQUEST_ID = "6ad12249-341b-4e17-8510-3b7ec7623c18"
_URN = "^urn:todo-api:problem:[a-z-]+(:[a-z-]+)?$"


def _string(description: str, **limits: Any) -> dict[str, Any]:
    return {"type": "string", "description": description, **limits}


# A client must not fail over an error that it does not know, so `type` is no enumeration, and members may be added.
_PROBLEM = {
    "title": "Problem",
    "description": "An error (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": _string("A URN that names the kind of problem and never changes.", format="uri", pattern=_URN),
        "title": _string("The kind of problem, for people.", maxLength=80),
        "status": {"type": "integer", "description": "The HTTP status.", "minimum": 400, "maximum": 599},
        "detail": _string("What happened, for people.", maxLength=200),
        "request_id": _string("The same as the X-Request-Id header, and in the log.", minLength=1, maxLength=128),
        "errors": {
            "type": "array",
            "description": "Only for 422: what is invalid.",
            "minItems": 1,
            "maxItems": 65_536,
            "items": {"$ref": "#/components/schemas/InvalidPart"},
        },
    },
}
_INVALID_PART = {
    "title": "InvalidPart",
    "description": "An invalid part of the request.",
    "type": "object",
    "required": ["in", "field", "detail"],
    "properties": {
        "in": _string("Where it is.", enum=["body", "query", "path", "header"]),
        "field": _string(
            "Its name; empty where the body as a whole is meant, or the name is not a plain identifier.",
            maxLength=64,
            pattern="^([A-Za-z_][A-Za-z0-9_-]*)?$",
        ),
        "detail": _string("What is wrong with it, for people.", maxLength=200),
    },
}
_STATUS = {
    "title": "Status",
    "description": "That all is well.",
    "type": "object",
    "required": ["status"],
    "properties": {"status": _string("What was asked about.", enum=["ok", "ready"])},
}

# --- headers of responses ---------------------------------------------------------------------------------------------


def _header(description: str, example: str | int, *, required: bool = True, **schema: Any) -> dict[str, Any]:
    return {"description": description, "required": required, "schema": schema, "example": example}


_HEADERS = {
    "X-Request-Id": _header(
        "The request's id, also in the log: the client's own X-Request-Id when that is 1 to 128 of "
        "`A-Z a-z 0-9 . _ -`, else API Gateway's or a new one.",
        _REQUEST_ID,
        type="string",
        minLength=1,
        maxLength=128,
    ),
    "Cache-Control": _header("Ask again before using it again.", "private, no-cache", const="private, no-cache"),
    "X-Content-Type-Options": _header("The declared type is the type.", "nosniff", const="nosniff"),
    "ETag": _header("This version of this todo.", '"2026-11-20T09:30:00.123456Z"', type="string"),
    "Location": _header(
        "The path of the todo.",
        "/v1/todos/0b2b5ea0-6a3f-4c1e-9a55-3c1f6b7d2f10",
        type="string",
        pattern="^/v1/todos/[0-9a-f-]{36}$",
    ),
    "Idempotency-Replayed": _header(
        "Only when an earlier request with this idempotency key has made the todo.",
        "true",
        required=False,
        const="true",
    ),
    "WWW-Authenticate": _header("How to name the user.", HEADER, type="string", enum=[HEADER, "Bearer"]),
    "Accept-Patch": _header(
        "Only on update: the types that it takes.",
        "application/json, application/merge-patch+json",
        required=False,
        type="string",
    ),
    "Retry-After": _header("How many seconds to wait.", 1, type="integer", minimum=1, maximum=1),
}
_ALWAYS = ("X-Request-Id", "Cache-Control", "X-Content-Type-Options")

# --- successes --------------------------------------------------------------------------------------------------------

_TODO = {
    "id": "0b2b5ea0-6a3f-4c1e-9a55-3c1f6b7d2f10",
    "user_id": "alice",
    "title": "Buy milk",
    "description": "Two of them",
    "is_completed": False,
    "created_at": "2026-11-20T09:30:00.123456Z",
    "updated_at": "2026-11-20T09:30:00.123456Z",
    "etag": '"2026-11-20T09:30:00.123456Z"',
}
_CHANGED = {
    **_TODO,
    "updated_at": "2026-11-20T09:31:00.654321Z",
    "etag": '"2026-11-20T09:31:00.654321Z"',
}

_REQUESTS: dict[str, Any] = {
    "createTodo": {"title": "Buy milk", "description": "Two of them"},
    "replaceTodo": {"title": "Buy oat milk", "is_completed": True},
    "updateTodo": {"description": None},
}
"""The example of each request's body."""

_SUCCESSES: dict[str, tuple[str, tuple[str, ...], Any]] = {
    "createTodo": ("The todo, new or made by an earlier request.", ("Location", "ETag", "Idempotency-Replayed"), _TODO),
    "listTodos": ("One page.", (), {"items": [_TODO], "next_cursor": None}),
    "retrieveTodo": ("The todo.", ("ETag",), _TODO),
    "replaceTodo": (
        "The todo as it is now.",
        ("ETag",),
        {**_CHANGED, "title": "Buy oat milk", "description": None, "is_completed": True},
    ),
    "updateTodo": ("The todo as it is now.", ("ETag",), {**_CHANGED, "description": None}),
    "deleteTodo": ("The todo is gone.", (), None),
    "toggleTodo": ("The todo as it is now.", ("ETag",), {**_CHANGED, "is_completed": True}),
    "checkHealth": ("The process answers.", (), {"status": "ok"}),
    "checkReadiness": ("The service is ready.", (), {"status": "ready"}),
}
"""What each operation's success means, its headers, and the example of its body."""

# --- errors -----------------------------------------------------------------------------------------------------------

_ERRORS: dict[int, tuple[str, tuple[str, ...]]] = {
    400: ("The body is empty or not JSON.", ()),
    401: ("The request does not name its user, or with what cannot be a user id.", ("WWW-Authenticate",)),
    404: ("The caller has no such todo.", ()),
    412: ("The todo has another version than If-Match names.", ()),
    413: ("The body has more than 65,536 bytes, whether or not the operation takes one.", ()),
    415: ("The body is of another type, or declares none.", ("Accept-Patch",)),
    422: ("A field, parameter, header, id or cursor is invalid; or the idempotency key has been used otherwise.", ()),
    500: ("A bug on our side; the log has it under the request id.", ()),
    503: (
        "The database did not answer in time. The type tells whether the request may be sent again.",
        ("Retry-After",),
    ),
}
"""What each error means, and its headers."""


def _invalid(part: str, field: str, detail: str) -> list[dict[str, str]]:
    return [{"in": part, "field": field, "detail": detail}]


_PROBLEMS = {
    "A body that ends early": Problem(400, "malformed-body", "The body must be JSON."),
    "No user": Problem(401, "not-identified", "The request does not name its user."),
    "No such todo": Problem(404, "todo-not-found", "There is no such todo."),
    "Changed meanwhile": Problem(412, "precondition-failed", "The todo has changed since this version."),
    "A long body": Problem(413, "body-too-large", "The body may have at most 65,536 bytes."),
    "Create and replace": Problem(415, "unsupported-media-type", "Send the body with Content-Type: application/json."),
    "Update": Problem(
        415,
        "unsupported-media-type",
        "Send the body with Content-Type: application/json or application/merge-patch+json.",
    ),
    "A bad id": Problem(
        422,
        "invalid-request",
        "Some parts of the request are invalid.",
        errors=_invalid("path", "id", "Must be a UUID"),
    ),
    "An unknown parameter": Problem(
        422,
        "invalid-request",
        "Some parts of the request are invalid.",
        errors=_invalid("query", "verbose", "Is not known here"),
    ),
    "A blank title": Problem(
        422,
        "invalid-request",
        "Some parts of the request are invalid.",
        errors=_invalid("body", "title", "Must not be blank"),
    ),
    "Create: a key used for another todo": Problem(
        422,
        "idempotency-key-reused",
        "Another request has this idempotency key.",
        errors=_invalid("header", "Idempotency-Key", "Has been sent with another body"),
    ),
    "A bug": Problem(500, "internal-error", "Something went wrong on our side."),
    "Without effect": Problem(
        503,
        "database-unavailable:not-executed",
        "The database is not available: the request had no effect and can be sent again.",
    ),
    "Outcome unknown": Problem(
        503,
        "database-unavailable:outcome-unknown",
        "The database did not answer in time: the request may or may not have taken effect.",
    ),
    "Ready: not ready": Problem(503, "not-ready", "The service is not ready."),
}
"""The examples of each error's body; a name that begins with an operation is of that one only."""

# --- the document -----------------------------------------------------------------------------------------------------


def document(app: FastAPI, identity_source: Literal["header", "authorizer"]) -> dict[str, Any]:
    """The document of the application, for the way in which it knows its callers."""
    spec = FastAPI.openapi(app)
    spec["info"]["description"] = _INTRODUCTION
    spec["servers"] = [{"url": ".", "description": "Where this document is: behind a stage or a mapping, below that."}]
    spec["tags"] = _TAGS
    spec["security"] = [{"Caller": []}]
    components = spec["components"]
    components["securitySchemes"] = {"Caller": _SECURITY_SCHEMES[identity_source]}
    components["headers"] = _HEADERS
    components["parameters"] = {}
    components["schemas"] |= {"Problem": _PROBLEM, "InvalidPart": _INVALID_PART, "Status": _STATUS}
    components["responses"] = {_error_name(status): _error(status) for status in _ERRORS}
    for schema in components["schemas"].values():
        for field in schema["properties"].values():
            field.pop("title", None)  # only the field's name once more
            field.pop("default", None)  # with one, openapi-typescript takes the field for required
    for path in spec["paths"].values():
        for operation in path.values():
            _complete(operation, components["parameters"])
    return spec


def _complete(operation: dict[str, Any], shared_parameters: dict[str, Any]) -> None:
    """Add to an operation what FastAPI does not know, and move its parameters to those that operations share."""
    name = operation["operationId"]
    if operation["tags"] == ["probes"]:
        operation["security"] = []
    for index, parameter in enumerate(operation.get("parameters", [])):
        schema = parameter["schema"]
        schema.pop("title")
        schema |= schema.pop("anyOf", [{}])[0]  # a parameter may be missing, but is never null
        parameter["description"] = schema.pop("description", None) or parameter["description"]
        key = parameter["name"].title().replace("-", "").replace("_", "")
        shared_parameters[key] = parameter
        operation["parameters"][index] = {"$ref": f"#/components/parameters/{key}"}
    if name in _REQUESTS:
        content = operation["requestBody"]["content"]
        content[_JSON]["example"] = _REQUESTS[name]
        if name == "updateTodo":
            content["application/merge-patch+json"] = content[_JSON]
    description, headers, example = _SUCCESSES[name]
    responses = operation["responses"] = dict(sorted(operation["responses"].items()))
    for status, response in responses.items():
        if int(status) >= 400:
            responses[status] = {"$ref": f"#/components/responses/{_error_name(int(status))}"}
        elif status == "304":
            response |= {"description": "The caller has this version already.", "headers": _headers("ETag")}
        else:
            response |= {"description": description, "headers": _headers(*headers)}
            if example is None:
                response.pop("content", None)
            else:
                schema = response["content"][_JSON]["schema"] or _schema("Status")
                response["content"] = {_JSON: {"schema": schema, "example": example}}


def _schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (*names, *_ALWAYS)}


def _error_name(status: int) -> str:
    """What the response is called among the components, as in `NotFound`."""
    return str(Problem(status, "", "").members["title"]).title().replace(" ", "")


def _error(status: int) -> dict[str, Any]:
    description, headers = _ERRORS[status]
    examples = {
        summary.replace(" ", "-").replace(":", "").lower(): {
            "summary": summary,
            "value": {**problem.members, "request_id": _REQUEST_ID},
        }
        for summary, problem in _PROBLEMS.items()
        if problem.status == status
    }
    content = {MEDIA_TYPE: {"schema": _schema("Problem"), "examples": examples}}
    return {"description": description, "headers": _headers(*headers), "content": content}
