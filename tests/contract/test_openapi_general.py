"""The OpenAPI document of a resource that is unlike todos: what is general must not know them."""

from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel, create_model

from todo_api.api import openapi
from todo_api.api.problems import NOT_IDENTIFIED
from todo_api.api.responses import error_responses


class Color(StrEnum):
    """A color."""

    RED = "red"
    BLUE = "blue"


class Shape(BaseModel):
    """A shape."""

    color: Color
    parts: list["Part"]


class Part(BaseModel):
    """A part of a shape."""

    name: str


def _document(*routers: APIRouter) -> dict[str, Any]:
    app = FastAPI()
    for router in routers:
        app.include_router(router)
    return openapi.document(app, "header")


def test_enums_routes_without_tags_and_parameters_of_several_types_are_documented() -> None:
    router = APIRouter(responses=error_responses(NOT_IDENTIFIED))

    @router.post("/v1/shapes")
    def create_shape(
        body: Shape,
        size: Annotated[int | str | None, Query()] = None,
        color: Annotated[Color | None, Query()] = None,
        near: Annotated[UUID | None, Query()] = None,
        exact: Annotated[int | str, Query()] = 1,
    ) -> Shape:
        assert exact, (size, color, near)
        return body

    document = _document(router)

    operation = document["paths"]["/v1/shapes"]["post"]
    assert {node["name"]: node["schema"] for node in operation["parameters"]} == {
        "size": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "color": {"$ref": "#/components/schemas/Color"},
        "near": {"type": "string", "format": "uuid"},
        "exact": {"anyOf": [{"type": "integer"}, {"type": "string"}], "default": 1},
    }
    schemas = document["components"]["schemas"]
    assert schemas["Color"]["enum"] == ["red", "blue"]
    assert schemas["Shape"]["properties"]["color"] == {"$ref": "#/components/schemas/Color"}
    assert {"Problem", "InvalidPart", "Part"} <= schemas.keys()


def test_only_operations_below_v1_need_a_user() -> None:
    router = APIRouter()
    for path in ("/v1/shapes", "/status"):
        router.add_api_route(path, lambda: None)

    document = _document(router)

    assert document["security"] == [{"Caller": []}]
    assert "security" not in document["paths"]["/v1/shapes"]["get"]
    assert document["paths"]["/status"]["get"]["security"] == []


def test_resources_may_have_models_of_the_same_name() -> None:
    def resource(path: str, module: str) -> APIRouter:
        fields: dict[str, Any] = {module: (int, ...)}
        item = create_model("Item", __module__=module, **fields)
        router = APIRouter()
        router.add_api_route(path, lambda: None, response_model=item)
        return router

    document = _document(resource("/v1/shapes", "shapes"), resource("/v1/sizes", "sizes"))

    assert {"shapes__Item", "sizes__Item"} <= document["components"]["schemas"].keys()


def test_a_model_with_the_name_of_an_error_is_refused() -> None:
    router = APIRouter()
    problem = create_model("Problem", x=(int, ...))
    router.add_api_route("/v1/problems", lambda: None, response_model=problem)
    with pytest.raises(ValueError, match=r"^Problem is a schema of errors: rename the model$"):
        _document(router)
