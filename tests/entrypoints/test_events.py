"""Every entry point takes every part of a request, and gives every part of a response."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from dev.lab.events import REQUEST_ID, function_url_event, http_api_event, rest_api_event
from tests.support.documents.walk import new_caller
from tests.support.http.assertions import assert_problem
from tests.support.http.clients import Api, invoke
from tests.support.http.users import User, new_user

pytestmark = pytest.mark.usefixtures("lambda_api")  # it sets the handler's environment

ALL = "/v1/todos"
TODO = b'{"title": "Gr\xc3\xbc\xc3\x9fe \xf0\x9f\x8c\xb1", "description": "", "is_completed": true}'

EVENTS: dict[str, Callable[..., dict[str, Any]]] = {
    "HTTP API": http_api_event,
    "HTTP API, body in base64": partial(http_api_event, base64=True),
    "REST API": rest_api_event,
    "function URL": function_url_event,
}
"""Functions that make the events of each AWS entry point."""


@pytest.fixture(params=[*EVENTS, "local server"])
def api(request: pytest.FixtureRequest, local_api: Api) -> Api:
    """The API, through each entry point."""
    if request.param == "local server":
        return local_api
    make_event = EVENTS[request.param]
    return Api(lambda *parts: invoke(make_event(*parts)))


def test_every_operation_works_through_each_entry_point_with_each_option(api: Api) -> None:
    caller = new_caller("grace", api)
    for operation in caller.operations:
        for request in caller.requests(operation):
            response = caller.send(request)
            assert request.is_answered_by(response), (request.name, response)


def test_path_query_header_fields_and_body_arrive_through_each_entry_point(api: Api) -> None:
    user = "grace"
    created = api("POST", ALL, user=user, body=TODO, headers={"Idempotency-Key": "1"})
    todo = created.json()
    path = f"{ALL}/{todo['id']}"
    assert created.status == 201
    assert created.headers["location"] == path
    assert (todo["title"], todo["description"], todo["is_completed"]) == ("Grüße 🌱", "", True)
    replayed = api("POST", ALL, user=user, body=TODO, headers={"Idempotency-Key": "1"})
    assert (replayed.json(), replayed.headers["idempotency-replayed"]) == (todo, "true")
    page = api("GET", f"{ALL}?limit=100&is_completed=true", user=user).json()
    assert page == {"items": [todo], "next_cursor": None}
    assert api("GET", f"{ALL}?limit=0&limit=1", user=user).status == 200
    same = api("GET", path, user=user, headers={"If-None-Match": created.headers["etag"]})
    assert (same.status, same.body) == (304, b"")
    put = api(
        "PUT", path, user=user, json={"title": "x"}, headers={"If-Match": created.headers["etag"]}
    )
    assert put.status == 200
    late = api(
        "PATCH", path, user=user, json={"title": "y"}, headers={"If-Match": created.headers["etag"]}
    )
    assert_problem(late, 412)
    assert api("PATCH", path, user=user, json={"description": "ä"}).json()["description"] == "ä"
    assert api("POST", f"{path}/toggle", user=user).json()["is_completed"] is True
    assert api("POST", path, user=user).headers["allow"] == "DELETE, GET, HEAD, PATCH, PUT"
    assert_problem(api("GET", f"{path}/", user=user), 404)
    deleted = api("DELETE", path, user=user)
    assert (deleted.status, deleted.body) == (204, b"")
    assert_problem(api("GET", path, user=user), 404)
    assert [api(method, "/health").status for method in ("GET", "HEAD")] == [200, 200]
    assert api("GET", "/ready").status == 200


VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
USER_IDS = [VISIBLE, VISIBLE[::-1], "~" * 255, (VISIBLE * 3)[:255], ",", '"', "%2C", "a,b"]


def test_user_ids_with_all_visible_ascii_characters_and_of_length_255_are_kept(
    api: Api, sql: Callable[..., Any]
) -> None:
    sql("DELETE FROM todos WHERE user_id = ANY(%s)", USER_IDS)
    for user in USER_IDS:
        created = api("POST", ALL, user=user, json={"title": "mine"})
        assert (created.status, created.json()["user_id"]) == (201, user)
        path = created.headers["location"]
        assert [todo["id"] for todo in api("GET", ALL, user=user).json()["items"]] == [
            path.rpartition("/")[2]
        ]
        assert api("DELETE", path, user=user).status == 204


def test_pages_contain_each_todo_once_and_cursors_need_no_escaping(api: Api) -> None:
    walker = new_user("walker", api)  # the first of its two todos is not completed
    created = [walker.create("x") for _ in range(3)]
    expected = [*reversed(created), walker.todos[0]]
    found = []
    query = "limit=1&is_completed=false"  # Base64 would pad the cursors of this filter
    for _ in expected:
        page = walker("GET", f"{ALL}?{query}").json()
        found += page["items"]
        assert re.fullmatch(r"[A-Za-z0-9_-]*", page["next_cursor"] or "")
        query = f"limit=1&is_completed=false&cursor={page['next_cursor']}"
    assert (found, page["next_cursor"]) == (expected, None)


# --- events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make_event", "authorizer"),
    [
        (http_api_event, {"jwt": {"claims": {"sub": "mallory"}, "scopes": ["email"]}}),
        (http_api_event, {"lambda": {"sub": "mallory"}}),
        (http_api_event, {"lambda": None}),
        (http_api_event, {"iam": {"userId": "mallory", "cognitoIdentity": None}}),
        (rest_api_event, {"claims": {"sub": "mallory"}}),
        (rest_api_event, {"principalId": "mallory", "sub": "mallory"}),
    ],
)
def test_header_mode_ignores_the_authorizer(
    carol: User, make_event: Callable[..., dict[str, Any]], authorizer: dict[str, Any]
) -> None:
    event = make_event("GET", ALL, {"X-User-Id": carol.id}, None)
    event["requestContext"]["authorizer"] = authorizer
    assert invoke(event).json()["items"] == [carol.todos[1], carol.todos[0]]


def test_paths_below_a_base_path_mapping_of_a_rest_api_are_not_found(carol: User) -> None:
    event = rest_api_event("GET", ALL, {"X-User-Id": carol.id}, None, mapping="/todo-service")
    assert assert_problem(invoke(event), 404)["type"] == "urn:todo-api:problem:path-not-found"


@pytest.mark.parametrize("make_event", EVENTS.values(), ids=EVENTS)
def test_request_id_is_the_clients_if_valid_and_the_gateways_otherwise(
    make_event: Callable[..., dict[str, Any]],
) -> None:
    for sent, used in [
        ("my-own_1.id", "my-own_1.id"),
        ("x" * 128, "x" * 128),
        ("x" * 129, REQUEST_ID),
        ("a b", REQUEST_ID),
        ("ü", REQUEST_ID),
        ("", REQUEST_ID),
    ]:
        headers = {"X-User-Id": "anybody", "X-Request-Id": sent}
        response = invoke(make_event("GET", f"{ALL}/nothing", headers, None))
        assert response.headers["x-request-id"] == used
        assert response.json()["request_id"] == used
