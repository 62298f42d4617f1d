"""What goes wrong on our side: the one shape of errors, a line in the log, and nothing given away."""

import logging
from collections.abc import Callable
from typing import Any

import pytest

from migrations.__main__ import migrate
from tests.support.apps import app_on
from tests.support.assertions import assert_problem, log_text
from tests.support.clients import Context, invoke_app
from tests.support.events import http_api_event
from tests.support.servers import free_port
from tests.support.users import User
from todo_api.app import create_app
from todo_api.database import repository
from todo_api.settings import Settings

CANARY = "s3cr3t-canary"


@pytest.mark.pooled
def test_a_bug_is_answered_and_logged_and_gives_nothing_away(
    carol: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Proves 500 for an unexpected exception: the one shape, CORS, the request's id and the place in the log."""

    def broken(*_: object) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(repository.TodoRepository, "list", broken)
    answer = carol("GET", "/v1/todos", headers={"Origin": "https://app.example", "X-Request-Id": "find-me"})
    problem = assert_problem(answer, 500)
    assert problem["type"] == "urn:todo-api:problem:internal-error"
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "unexpected RuntimeError"
    assert record.__dict__["request_id"] == "find-me"
    assert any("in broken" in frame for frame in record.__dict__["frames"])
    assert CANARY not in log_text(caplog)


@pytest.mark.pooled
@pytest.mark.parametrize("title", [CANARY, f"{CANARY} query_wait_timeout: password authentication failed"])
def test_a_rejected_row_is_a_bug_that_tells_nothing_of_the_row(
    carol: User, sql: Any, caplog: pytest.LogCaptureFixture, title: str
) -> None:
    """Proves that the database's message, which shows the row, stays inside and is not taken for another's."""
    sql("ALTER TABLE todos ADD CONSTRAINT no_canary CHECK (title NOT LIKE '%canary%')")
    try:
        assert_problem(carol("POST", "/v1/todos", json={"title": title, "description": CANARY}), 500)
    finally:
        sql("ALTER TABLE todos DROP CONSTRAINT no_canary")
    assert "unexpected IntegrityError" in log_text(caplog)
    assert CANARY not in log_text(caplog)
    assert carol.list() == [carol.todos[1], carol.todos[0]]


@pytest.mark.parametrize(
    ("table", "row"),
    [
        ("todos", "user_id, title) VALUES ('limits', '')"),
        ("todos", "user_id, title) VALUES ('limits', repeat('x', 256))"),
        ("todos", "user_id, title) VALUES ('limits', NULL)"),
        ("todos", "user_id, title, description) VALUES ('limits', 'x', repeat('x', 2001))"),
        ("todos", "user_id, title, is_completed) VALUES ('limits', 'x', NULL)"),
        ("todos", "user_id, title, created_at) VALUES ('limits', 'x', NULL)"),
        ("todos", "user_id, title) VALUES ('nobody', 'x')"),
        ("todos", "user_id, title) VALUES (NULL, 'x')"),
        ("users", "id) VALUES ('')"),
        ("users", "id) VALUES (repeat('x', 256))"),
    ],
)
def test_the_database_repeats_the_limits(sql: Any, table: str, row: str) -> None:
    """Proves lengths, non-nulls and the foreign key as constraints, past the API."""
    import psycopg2

    sql("INSERT INTO users (id) VALUES ('limits') ON CONFLICT DO NOTHING")
    with pytest.raises(psycopg2.IntegrityError):
        sql(f"INSERT INTO {table} ({row}")
    sql("DELETE FROM users WHERE id = 'limits'")


@pytest.mark.pooled
def test_todos_go_with_their_user(carol: User, sql: Any) -> None:
    """Proves that removing a user removes their todos, and nobody else's."""
    carol.api("POST", "/v1/todos", user=f"leaving-{carol.id}", json={"title": "x"})
    sql("DELETE FROM users WHERE id = %s", f"leaving-{carol.id}")
    assert sql("SELECT count(*) FROM todos WHERE user_id = %s", f"leaving-{carol.id}") == [(0,)]
    assert carol.list() == [carol.todos[1], carol.todos[0]]


def test_an_unreachable_database_is_told_as_not_executed(caplog: pytest.LogCaptureFixture) -> None:
    """Proves 503 with `Retry-After`, safe to send again, when nobody listens; and that no address is given away."""
    port = free_port()
    with app_on(f"postgresql://{CANARY}:{CANARY}@127.0.0.1:{port}/{CANARY}", database_timeout_seconds=0.3) as call:
        for answer in (
            call("GET", "/v1/todos", user=CANARY),
            call("POST", "/v1/todos", user=CANARY, json={"title": CANARY}),
        ):
            problem = assert_problem(answer, 503)
            assert problem["type"] == "urn:todo-api:problem:database-unavailable:not-executed"
            assert answer.headers["retry-after"] == "1"
        assert_problem(call("GET", "/ready"), 503)
        assert call("GET", "/health").status == 200
    records = [record.__dict__ for record in caplog.records if record.getMessage() == "database unavailable"]
    assert [(record["phase"], record["may_have_run"]) for record in records] == [("connect", False)] * 3
    assert CANARY not in log_text(caplog)


def test_a_database_that_was_never_migrated_is_not_ready(
    new_database: Callable[[], str], caplog: pytest.LogCaptureFixture
) -> None:
    """Proves 503 for /ready and for operations while the tables are missing, and 200 once they are there."""
    uri = new_database()
    with app_on(uri) as call:
        for path in ("/ready", "/v1/todos"):
            problem = assert_problem(call("GET", path, user="anybody"), 503)
            assert problem["type"] == "urn:todo-api:problem:database-unavailable:not-executed"
        assert "42P01" in log_text(caplog)
        migrate(uri)
        assert call("GET", "/ready").status == 200


def test_a_schema_older_than_the_code_is_not_ready(new_database: Callable[[], str], monkeypatch: Any) -> None:
    """Proves that /ready compares the database's revision with the one that the code names; a newer one is fine."""
    uri = new_database()
    migrate(uri)
    with app_on(uri) as call:
        monkeypatch.setattr(repository, "SCHEMA_REVISION", "9999")
        assert assert_problem(call("GET", "/ready"), 503)["type"] == "urn:todo-api:problem:not-ready"
        monkeypatch.setattr(repository, "SCHEMA_REVISION", "0000")
        assert call("GET", "/ready").status == 200


@pytest.mark.pooled
def test_each_request_is_one_line_in_the_log_without_what_was_sent(
    carol: User, caplog: pytest.LogCaptureFixture
) -> None:
    """Proves the line's fields, and that titles, descriptions, user ids and paths stay out of the log."""
    caplog.clear()
    user = f"{CANARY}|{carol.id}"
    created = carol.api("POST", "/v1/todos", user=user, json={"title": CANARY, "description": CANARY})
    carol.api("GET", f"/v1/todos/{CANARY}?{CANARY}={CANARY}", user=user)
    carol.api("GET", f"/{CANARY}", user=user)
    lines = [record.__dict__ for record in caplog.records if record.name == "todo_api"]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/v1/todos", 201),
        ("GET", "/v1/todos/{id}", 422),
        ("GET", None, 404),
    ]
    assert lines[0]["request_id"] == created.headers["x-request-id"]
    assert all(0 < line["milliseconds"] < 10_000 for line in lines)
    assert CANARY not in log_text(caplog)


# --- identity by the gateway's authorizer -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("authorizer", "status"),
    [
        ({"jwt": {"claims": {"sub": "auth0|5f7c8ec7c33c6c004bbafe82"}, "scopes": None}}, 200),
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
def test_an_authorizer_s_claim_names_the_user_and_the_header_is_ignored(
    environment: dict[str, str], authorizer: dict[str, Any] | None, status: int
) -> None:
    """Proves authorizer mode: only the verified claim counts, whatever the header says."""
    app = create_app(Settings(neon_database_url=environment["NEON_DATABASE_URL"], identity_source="authorizer"))
    headers = {"X-User-Id": "mallory", "Content-Type": "application/json"}
    event = http_api_event("POST", "/v1/todos", headers, b'{"title": "x"}', authorizer=authorizer)
    answer = invoke_app(app, event, Context())
    if status == 200:
        assert answer.json()["user_id"] == "auth0|5f7c8ec7c33c6c004bbafe82"
    else:
        assert_problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
