"""Caller identity: the `X-User-Id` header, and what an authorizer leaves in the event."""

from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from typing import Any

import pytest

from dev.lab.events import function_url_event, http_api_event, rest_api_event
from tests.support.http.assertions import assert_problem
from tests.support.http.clients import Api, Context, Response, invoke, invoke_app
from tests.support.http.users import User
from todo_api.app import create_app
from todo_api.settings import Settings

USER = "auth0|5fe435b5cbbc85006b071eba"

EventMaker = Callable[..., dict[str, Any]]

# Each shape of `requestContext.authorizer` as it is published, and the user that it gives. Most
# samples hold no `sub`; where one is verified, it stands beside the sample's own keys.
# GUIDE is docs.aws.amazon.com/apigateway/latest/developerguide, GO github.com/aws/aws-lambda-go
# events/testdata, POWERTOOLS github.com/aws-powertools/powertools-lambda-python tests/events.
SHAPES: dict[str, tuple[EventMaker, object, str | None]] = {
    # GO apigw-v2-request-jwt-authorizer.json, GUIDE http-api-develop-integrations-lambda.html
    "HTTP API, JWT": (
        http_api_event,
        {"jwt": {"claims": {"claim1": "value1", "sub": USER}, "scopes": ["scope1", "scope2"]}},
        USER,
    ),
    "HTTP API, JWT without scopes": (
        http_api_event,
        {"jwt": {"claims": {"sub": USER}, "scopes": None}},
        USER,
    ),
    # POWERTOOLS apiGatewayProxyV2LambdaAuthorizerEvent.json
    "HTTP API, JWT without sub": (
        http_api_event,
        {"jwt": {"claims": {"claim1": "value1"}, "scopes": ["scope1", "scope2"]}},
        None,
    ),
    # GO apigw-v2-request-lambda-authorizer.json, GUIDE http-api-lambda-authorizer.html
    "HTTP API, Lambda": (http_api_event, {"lambda": {"key": "value", "sub": USER}}, USER),
    "HTTP API, Lambda without sub": (http_api_event, {"lambda": {"key": "value"}}, None),
    "HTTP API, Lambda without context": (http_api_event, {"lambda": None}, None),
    # GO apigw-v2-request-iam.json
    "HTTP API, IAM": (
        http_api_event,
        {
            "iam": {
                "accessKey": "ARIA2ZJZYVUEREEIHAKY",
                "accountId": "1234567890",
                "callerId": "AROA7ZJZYVRE7C3DUXHH6:CognitoIdentityCredentials",
                "cognitoIdentity": {"amr": ["foo"], "identityId": "us-east-1:3f291106"},
                "userArn": "arn:aws:iam::1234567890:user/Admin",
                "userId": "AROA2ZJZYVRE7Y3TUXHH6",
            }
        },
        None,
    ),
    "HTTP API, no authorizer": (http_api_event, None, None),
    # github.com/awsdocs/amazon-api-gateway-developer-guide/issues/113
    "HTTP API, payload 1.0, JWT": (
        rest_api_event,
        {"claims": {"aud": "some.api", "gty": "password", "sub": USER}, "scopes": None},
        USER,
    ),
    # POWERTOOLS apiGatewayProxyEvent.json
    "HTTP API, payload 1.0, no authorizer": (
        rest_api_event,
        {"claims": None, "scopes": None},
        None,
    ),
    # GUIDE api-gateway-mapping-template-reference.html: $context.authorizer.claims.property
    "REST API, Cognito": (
        rest_api_event,
        {"claims": {"cognito:username": "zoe", "email_verified": "true", "sub": USER}},
        USER,
    ),
    # GUIDE rest-api-jwt-authorizer-claims.html: each claim keeps its JSON type
    "REST API, JWT": (
        rest_api_event,
        {"claims": {"iat": 1516239022, "roles": ["user", "editor"], "sub": USER}},
        USER,
    ),
    "REST API, JWT with a number for sub": (rest_api_event, {"claims": {"sub": 42}}, None),
    # GO apigw-request.json, GUIDE api-gateway-lambda-authorizer-output.html
    "REST API, Lambda": (
        rest_api_event,
        {"principalId": "admin", "clientId": 1, "clientName": "Exata", "sub": USER},
        USER,
    ),
    # POWERTOOLS apiGatewayProxyEventPrincipalId.json
    "REST API, Lambda without sub": (
        rest_api_event,
        {"user_id": "fake_username", "principalId": "fake", "integrationLatency": 451},
        None,
    ),
    # GO lambda-urls-request.json
    "function URL, IAM": (
        function_url_event,
        {"iam": {"accountId": "111122223333", "callerId": "AIDA...", "userId": "AIDA..."}},
        None,
    ),
    "function URL, open": (function_url_event, None, None),
}


@pytest.mark.parametrize("user", ["", " ", "a b", "x" * 256, "ünï", "a\tb", "\x7f", "🦆"])
def test_missing_or_invalid_user_id_is_rejected(either_api: Api, user: str) -> None:
    response = either_api("GET", "/v1/todos", user=user)
    assert_problem(response, 401)
    assert response.headers["www-authenticate"] == "X-User-Id"


TWO_USER_IDS = [
    [("X-User-Id", "carol"), ("X-User-Id", "bob")],
    [("X-User-Id", "carol"), ("X-User-Id", "carol")],
    [("X-User-Id", "carol"), ("x-user-id", "bob")],
    [("X-User-Id", ""), ("X-USER-ID", "carol")],
]


@pytest.mark.parametrize("fields", TWO_USER_IDS, ids=str)
@pytest.mark.usefixtures("lambda_api")
def test_two_user_ids_in_an_event_of_a_rest_api_are_refused(fields: list[tuple[str, str]]) -> None:
    event = rest_api_event("GET", "/v1/todos", dict(fields), None)
    for name, _ in fields:
        event["multiValueHeaders"][name] = [value for other, value in fields if other == name]

    response = invoke(event)

    assert_problem(response, 401)


@pytest.mark.parametrize("fields", TWO_USER_IDS, ids=str)
def test_two_user_ids_are_refused_by_the_local_server(
    local_port: int, fields: list[tuple[str, str]]
) -> None:
    with closing(HTTPConnection("127.0.0.1", local_port, timeout=30)) as connection:
        connection.putrequest("GET", "/v1/todos")
        for name, value in fields:
            connection.putheader(name, value)
        connection.endheaders()
        status = connection.getresponse().status

    assert status == 401


def test_two_user_ids_that_an_http_api_has_joined_are_neither_of_the_two(carol: User) -> None:
    event = http_api_event("GET", "/v1/todos", {"X-User-Id": f"{carol.id},bob"}, None)
    assert invoke(event).json()["items"] == []


@pytest.fixture
def create_as(environment: dict[str, str]) -> Callable[[EventMaker, object], Response]:
    """Create a todo in authorizer mode, with this `authorizer` in the event."""
    database = environment["NEON_DATABASE_URL"]
    app = create_app(Settings(neon_database_url=database, identity_source="authorizer"))

    def create(make_event: EventMaker, authorizer: object) -> Response:
        headers = {"X-User-Id": "mallory", "Content-Type": "application/json"}
        event = make_event("POST", "/v1/todos", headers, b'{"title": "x"}')
        event["requestContext"]["authorizer"] = authorizer
        return invoke_app(app, event, Context())

    return create


def _assert_user(response: Response, user: str | None) -> None:
    if user is None:
        assert_problem(response, 401)
        assert response.headers["www-authenticate"] == "Bearer"
    else:
        assert response.status == 201
        assert response.json()["user_id"] == user


@pytest.mark.parametrize("shape", SHAPES)
def test_each_authorizer_gives_the_sub_that_it_has_verified_and_never_the_header(
    create_as: Callable[[EventMaker, object], Response], shape: str
) -> None:
    make_event, authorizer, user = SHAPES[shape]

    response = create_as(make_event, authorizer)

    _assert_user(response, user)


@pytest.mark.parametrize(
    "sub", ["", " ", "a b", "x" * 256, "ünï", 5, True, ["zoe"], {"id": "zoe"}, None]
)
@pytest.mark.parametrize(
    "place", [{"jwt": {"claims": ...}}, {"lambda": ...}, {"claims": ...}, ...], ids=str
)
def test_sub_that_cannot_be_a_user_id_is_rejected_wherever_it_stands(
    create_as: Callable[[EventMaker, object], Response], place: Any, sub: object
) -> None:
    def filled(part: Any) -> Any:
        if part is ...:
            return {"sub": sub}
        return {key: filled(value) for key, value in part.items()}

    response = create_as(http_api_event, filled(place))

    _assert_user(response, None)


@pytest.mark.parametrize(
    ("authorizer", "user"),
    [
        ({"jwt": {"claims": {"sub": "zoe"}}, "lambda": {"sub": "zoe"}}, "zoe"),
        ({"claims": {"sub": "zoe"}, "sub": "zoe"}, "zoe"),
        ({"jwt": {"claims": {"sub": "zoe"}}, "lambda": {"sub": "bob"}}, None),
        ({"jwt": {"claims": {"sub": "zoe"}}, "sub": "bob"}, None),
        ({"lambda": {"sub": "zoe"}, "claims": {"sub": "bob"}}, None),
        ({"claims": {"sub": "zoe"}, "sub": "zoe "}, None),
        ({"claims": {"sub": "zoe"}, "sub": ""}, None),
        ({"claims": {"sub": "zoe"}, "sub": ["zoe"]}, None),
        ({"claims": {"sub": "7"}, "sub": 7}, None),
        ("zoe", None),
        (["zoe"], None),
        ({"jwt": "zoe", "lambda": ["sub", "zoe"], "claims": "sub"}, None),
    ],
)
def test_several_subs_name_a_user_only_if_they_are_equal(
    create_as: Callable[[EventMaker, object], Response], authorizer: object, user: str | None
) -> None:
    response = create_as(http_api_event, authorizer)

    _assert_user(response, user)
