"""The OpenAPI document: what FastAPI cannot derive from the routes."""

from typing import Any, Literal

from fastapi import FastAPI

from todo_api.api.identity import HEADER
from todo_api.api.problems import Problem

DESCRIPTION = """\
Every request below `/v1` names its user and sees only that user's todos. \
To try the operations here, press *Authorize*,
create a todo, and use the id in the response.

- Bodies are JSON in UTF-8. Unknown fields, and unknown parameters of the list, are refused (422).
- Every error is `application/problem+json` (RFC 9457). Distinguish errors by `type`, \
and expect new ones. API Gateway
  itself answers some requests with 413, 429, 500 or 503 and `{"message": …}`.
- An `etag` identifies one version of a todo. \
With `If-Match` a write succeeds only if the todo has not changed since.
- A create with an `Idempotency-Key` creates one todo, however often it is sent.
- `HEAD` works wherever `GET` does. Every response has an `X-Request-Id`, which is also in the log.
"""

TAGS = [
    {"name": "todos", "description": "The caller's own todos."},
    {"name": "probes", "description": "Health checks. These need no user."},
]

SERVERS = [
    {
        "url": ".",
        "description": "The location of this document. Give a generated client its own base URL.",
    }
]

_SECURITY_SCHEMES = {
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": HEADER,
        "description": "The caller's user id: 1 to 255 visible ASCII characters, such as `alice`. "
        "Nothing is verified.",
    },
    "authorizer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token that API Gateway's authorizer verifies. "
        "The user id is its claim `sub`.",
    },
}


def document(app: FastAPI, identity_source: Literal["header", "authorizer"]) -> dict[str, Any]:
    """Build the document, with the security scheme of the identity source."""
    spec = FastAPI.openapi(app)
    components = spec["components"]
    components["securitySchemes"] = {"Caller": _SECURITY_SCHEMES[identity_source]}
    spec["security"] = [{"Caller": []}]
    # As response models, FastAPI would declare errors as application/json.
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components["schemas"] |= {**problem.pop("$defs"), "Problem": problem}
    for schema in components["schemas"].values():
        for field in schema["properties"].values():
            field.pop("title", None)  # repeats the field's name
            field.pop("default", None)  # openapi-typescript would make the field required
    for operation in (operation for path in spec["paths"].values() for operation in path.values()):
        if operation["tags"] == ["probes"]:
            operation["security"] = []
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            schema |= schema.pop("anyOf", [{}])[0]  # a parameter may be absent, but never null
            schema.pop("title")
    return spec
