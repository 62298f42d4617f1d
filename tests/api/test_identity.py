"""Caller identity: the `X-User-Id` header, and the claims of API Gateway's authorizer."""

from typing import Any

import pytest

from tests.support.assertions import assert_problem
from tests.support.clients import Api, Context, invoke_app
from tests.support.events import http_api_event
from todo_api.app import create_app
from todo_api.settings import Settings


@pytest.mark.pooled
@pytest.mark.parametrize("user", ["", " ", "a b", "x" * 256, "ünï", "a\tb", "\x7f", "🦆"])
def test_missing_or_invalid_user_id_is_rejected(either_api: Api, user: str) -> None:
    response = either_api("GET", "/v1/todos", user=user)
    assert_problem(response, 401)
    assert response.headers["www-authenticate"] == "X-User-Id"


@pytest.mark.pooled
@pytest.mark.parametrize(
    "user", ["!", "~" * 255, "auth0|5f7c8ec7c33c6c004bbafe82", "a,b", "';--", '"%s"', "\\", "%(x)s"]
)
def test_any_visible_ascii_is_a_valid_user_id(either_api: Api, user: str) -> None:
    created = either_api("POST", "/v1/todos", user=user, json={"title": "mine"})
    assert (created.status, created.json()["user_id"]) == (201, user)
    assert either_api("GET", "/v1/todos", user=user).json()["items"][0] == created.json()


@pytest.mark.parametrize(
    ("authorizer", "status"),
    [
        ({"jwt": {"claims": {"sub": "auth0|5f7c8ec7c33c6c004bbafe82"}, "scopes": None}}, 201),
        ({"jwt": {"claims": {"sub": ""}}}, 401),
        ({"jwt": {"claims": {"sub": "a b"}}}, 401),
        ({"jwt": {"claims": {"sub": 5}}}, 401),
        ({"jwt": {"claims": {}}}, 401),
        ({"jwt": None}, 401),
        ({"lambda": {"sub": "somebody"}}, 401),
        ({"iam": {"accountId": "1234567890", "userId": "somebody", "cognitoIdentity": None}}, 401),
        ({"principalId": "somebody"}, 401),
        (None, 401),
    ],
)
def test_authorizer_mode_uses_the_verified_claim_and_ignores_the_header(
    environment: dict[str, str], authorizer: dict[str, Any] | None, status: int
) -> None:
    app = create_app(Settings(neon_database_url=environment["NEON_DATABASE_URL"], identity_source="authorizer"))
    headers = {"X-User-Id": "mallory", "Content-Type": "application/json"}
    event = http_api_event("POST", "/v1/todos", headers, b'{"title": "x"}', authorizer=authorizer)
    response = invoke_app(app, event, Context())
    if status == 201:
        assert (response.status, response.json()["user_id"]) == (201, "auth0|5f7c8ec7c33c6c004bbafe82")
    else:
        assert_problem(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"
