"""What the operations of any resource respond, as OpenAPI describes it."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from todo_api.api.problems import MEDIA_TYPE, ProblemType

Responses = dict[int | str, dict[str, Any]]
"""FastAPI's `responses`."""


def documented_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """Return response headers in OpenAPI's form."""
    return {
        name: {"description": description, "schema": {"type": "string"}}
        for name, description in headers.items()
    }


def error_responses(*problems: ProblemType) -> Responses:
    """Return the OpenAPI responses of errors, for FastAPI's `responses`."""
    responses: Responses = {}
    for problem in problems:
        if problem.status not in responses:
            content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
            responses[problem.status] = {
                "description": problem.detail,
                "headers": {},
                "content": {MEDIA_TYPE: content},
            }
        response = responses[problem.status]
        response["headers"] |= documented_headers(problem.header_descriptions)
        response["content"][MEDIA_TYPE]["examples"] |= _example(problem)
    return responses


def _example(problem: ProblemType) -> dict[str, Any]:
    value = problem.of_request("6ad12249-341b-4e17-8510-3b7ec7623c18", problem.example)
    return {
        problem.name.replace(":", "-"): {
            "summary": problem.detail,
            "value": value.model_dump(by_alias=True, exclude_defaults=True),
        }
    }


def merge_patch(model: type[BaseModel]) -> dict[str, Any]:
    """Return what FastAPI's `openapi_extra` needs for a body that may be a JSON merge patch."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    content = {"application/merge-patch+json": {"schema": schema}}
    return {"requestBody": {"content": content}}


_ETAG = documented_headers({"ETag": "The item's `etag`."})
_LOCATION = documented_headers({"Location": "The path of the item."})
ITEM: Responses = {200: {"headers": _ETAG}}
CREATED: Responses = {201: {"headers": _ETAG | _LOCATION}}
ITEM_OR_304: Responses = ITEM | {
    304: {"description": "The caller has this version.", "headers": _ETAG}
}
