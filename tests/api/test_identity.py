"""Caller identity: the `X-User-Id` header, and the claims of API Gateway's authorizer."""

from typing import Any

import pytest

from tests.support.assertions import assert_problem
from tests.support.clients import Api, Context, invoke_app
from tests.support.events import http_api_event
from todo_api.app import create_app
from todo_api.settings import Settings


@pytest.mark.parametrize("user", ["", " ", "a b", "x" * 256, "ünï", "a\tb", "\x7f", "🦆"])
def test_missing_or_invalid_user_id_is_rejected(either_api: Api, user: str) -> None:
    response = either_api("GET", "/v1/todos", user=user)
    assert_problem(response, 401)
    assert response.headers["www-authenticate"] == "X-User-Id"


@pytest.mark.parametrize(
    ("authorizer", "user"),
    [
        ({"jwt": {"claims": {"sub": "auth0|5f7c"}, "scopes": None}}, "auth0|5f7c"),
        ({"jwt": {"claims": {"sub": ""}}}, None),
        ({"jwt": {"claims": {"sub": "a b"}}}, None),
        ({"jwt": {"claims": {"sub": 5}}}, None),
        ({"jwt": {"claims": {}}}, None),
        ({"jwt": None}, None),
        ({"lambda": {"sub": "somebody"}}, None),
        ({"iam": {"accountId": "1234567890", "userId": "somebody", "cognitoIdentity": None}}, None),
        ({"principalId": "somebody"}, None),
        (None, None),
    ],
)
def test_authorizer_mode_uses_the_verified_claim_and_ignores_the_header(
    environment: dict[str, str], authorizer: dict[str, Any] | None, user: str | None
) -> None:
    app = create_app(
        Settings(neon_database_url=environment["NEON_DATABASE_URL"], identity_source="authorizer")
    )
    headers = {"X-User-Id": "mallory", "Content-Type": "application/json"}
    event = http_api_event("POST", "/v1/todos", headers, b'{"title": "x"}', authorizer=authorizer)
    response = invoke_app(app, event, Context())
    if user:
        assert (response.status, response.json()["user_id"]) == (201, user)
    else:
        assert_problem(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"
