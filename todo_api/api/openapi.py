"""The OpenAPI document: what FastAPI cannot derive from the routes."""

from typing import Any, Literal

from fastapi import FastAPI

from todo_api.api.identity import HEADER
from todo_api.api.problems import Problem

DESCRIPTION = """\
Every request below `/v1` names its user and sees only what that user owns. \
To try the operations here, press *Authorize*,
create something, and use the id in the response.

- Bodies are JSON in UTF-8. Unknown fields, and unknown parameters of a list, are refused (422). \
Create, replace and update
  ignore the fields that the server makes: `id`, `user_id`, `created_at`, `updated_at` and `etag`.
- Every error is `application/problem+json` (RFC 9457). Distinguish errors by `type`, \
and expect new ones. API Gateway
  itself answers some requests with 413, 429, 500, 503 or 504 and `{"message": …}`.
- An `etag` identifies one version. With `If-Match` a write succeeds only if it has not changed \
since.
- A create with an `Idempotency-Key` creates once, however often it is sent.
- `HEAD` works wherever `GET` does. Every response has an `X-Request-Id`, which is also in the log.
"""

SERVERS = [{"url": "/", "description": "Give a generated client its own base URL."}]
LICENSE = {"name": "MIT", "identifier": "MIT"}

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


def document(
    app: FastAPI,
    identity_source: Literal["header", "authorizer"],
) -> dict[str, Any]:
    """Build the document, with the security scheme of the identity source.

    Raises:
        ValueError: a model has the name of one that describes errors.
    """
    spec = FastAPI.openapi(app)
    components = spec.setdefault("components", {})
    components["securitySchemes"] = {"Caller": _SECURITY_SCHEMES[identity_source]}
    spec["security"] = [{"Caller": []}]
    schemas = components.setdefault("schemas", {})
    _add_errors(schemas)
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            field.pop("title", None)  # repeats the field's name
            field.pop("default", None)  # openapi-typescript would make the field required
    for path, operations in spec["paths"].items():
        for operation in operations.values():
            if not path.startswith("/v1/"):
                operation["security"] = []
            for parameter in operation.get("parameters", []):
                _drop_null(parameter["schema"])
                parameter["schema"].pop("title", None)
    return spec


def _add_errors(schemas: dict[str, Any]) -> None:
    # As response models, FastAPI would declare errors as application/json.
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    errors = {**problem.pop("$defs"), "Problem": problem}
    taken = errors.keys() & schemas
    if taken:
        raise ValueError(f"{' and '.join(sorted(taken))} is a schema of errors: rename the model")
    schemas |= errors


def _drop_null(schema: dict[str, Any]) -> None:
    """Remove the type null: a parameter may be absent, but never null."""
    types = [type_ for type_ in schema.get("anyOf", []) if type_ != {"type": "null"}]
    if len(types) == 1:
        del schema["anyOf"]
        schema |= types[0]
    elif types:
        schema["anyOf"] = types
