"""A stage whose database moves to another server."""

from collections.abc import Iterator

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from deploy.runtime_login import renew
from dev.lab.proxy import FaultyProxy
from dev.lab.sql import run_sql
from dev.ports import free_port
from tests.support.http.apps import app_with
from tests.support.postgres.clusters import neon_like, of_port
from tests.support.postgres.logins import MemoryParameter, created

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def other_owner() -> Iterator[str]:
    """The URI of the owner of a migrated database on another server."""
    with neon_like("wheel") as (uri, _):
        yield uri


def titles(owner: str, user_id: str) -> list[str]:
    """Return the titles of a user's todos."""
    rows = run_sql(owner, "SELECT user_id, title FROM todos")
    return [title for owner_id, title in rows if owner_id == user_id]


def test_an_instance_that_runs_moves_with_its_next_request(
    owner: str, other_owner: str, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameter = MemoryParameter(created(owner, stage))
    monkeypatch.setattr("todo_api.app.url_reader", lambda *_: parameter.read)
    call = app_with(neon_database_url_parameter="/of/the/test")
    assert call("POST", "/v1/todos", user=stage, json={"title": "before"}).status == 201
    old = parameter.value
    notes = renew(other_owner, stage, parameter)
    assert len(notes) == 1
    assert call("POST", "/v1/todos", user=stage, json={"title": "after"}).status == 201
    assert titles(owner, stage) == ["before"]
    assert titles(other_owner, stage) == ["after"]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(old)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("silent", "has not answered an attempt to connect for 0.5 s"), ("", "Connection refused")],
    ids=["silent", "gone"],
)
def test_an_old_server_that_does_not_answer_is_named_with_what_to_do(
    owner: str,
    other_owner: str,
    stage: str,
    fault: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("migrations.owner.CONNECT_SECONDS", 0.5)
    silent = FaultyProxy(int(parse_dsn(owner)["port"]))
    silent.fault = fault
    login = created(owner, stage)
    port = silent.port if fault else free_port()
    parameter = MemoryParameter(of_port(login, port))
    _, note = renew(other_owner, stage, parameter)
    name = parse_dsn(login)["user"]
    assert note.startswith(
        f"The login {name} on 127.0.0.1, which the parameter held before, could not be locked ("
    )
    assert reason in note
    assert f"run ALTER ROLE {name} NOLOGIN PASSWORD NULL there" in note
    assert parse_dsn(login)["password"] not in note
    assert run_sql(parameter.value, "SELECT 1") == [(1,)]


def test_a_role_that_no_deploy_has_made_keeps_its_password_and_is_named(
    owner: str, other_owner: str, stage: str
) -> None:
    _, note = renew(other_owner, stage, MemoryParameter(owner))
    assert note.startswith(
        "The login neondb_owner on 127.0.0.1, which the parameter held before, "
        "is no login that a deploy has made."
    )
    assert run_sql(owner, "SELECT 1") == [(1,)]
