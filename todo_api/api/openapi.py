"""The OpenAPI document: what FastAPI reads off the operations, and here what it cannot know."""

from typing import Any, Literal

from fastapi import FastAPI

from todo_api.api.identity import HEADER
from todo_api.api.problems import Problem

DESCRIPTION = """\
Every request below `/v1` names its user, and sees nobody else's todos. To try the operations here, press *Authorize*,
which tells what is asked for; create a todo, and use the id in the answer.

- Bodies are JSON in UTF-8. Unknown fields, and unknown parameters of the list, are refused (422).
- Every error of the API is `application/problem+json` (RFC 9457); tell them apart by `type`, and expect new ones. API
  Gateway itself answers some requests, with 413, 429, 500 or 503 and `{"message": …}` instead.
- An `etag` stands for one version of a todo. With `If-Match` a write goes on only if nobody has changed it since.
- A create with an `Idempotency-Key` makes one todo, however often it is sent.
- `HEAD` is answered wherever `GET` is. Every response has an `X-Request-Id`, which is in the log too.
"""

TAGS = [
    {"name": "todos", "description": "The caller's own todos."},
    {"name": "probes", "description": "Whether the service works. These need no user."},
]

SERVERS = [{"url": ".", "description": "Where this document is. A generated client has to be given its own base URL."}]

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


def document(app: FastAPI, identity_source: Literal["header", "authorizer"]) -> dict[str, Any]:
    """The document of the application, for the way in which it knows its callers."""
    spec = FastAPI.openapi(app)
    components = spec["components"]
    components["securitySchemes"] = {"Caller": _SECURITY_SCHEMES[identity_source]}
    spec["security"] = [{"Caller": []}]
    # Errors are not response models to FastAPI, which would declare them as application/json.
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"] |= {**problem.pop("$defs"), "Problem": problem}
    for schema in components["schemas"].values():
        for field in schema["properties"].values():
            field.pop("title", None)  # only the field's name once more
            field.pop("default", None)  # openapi-typescript takes a field with a default for required
    for operation in (operation for path in spec["paths"].values() for operation in path.values()):
        if operation["tags"] == ["probes"]:
            operation["security"] = []
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            schema |= schema.pop("anyOf", [{}])[0]  # a parameter may be absent, and is never null
            schema.pop("title")
    return spec
