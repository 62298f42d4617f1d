"""TLS that starts directly on Neon's hosts.

One round trip less, and a fallback for servers that want to be asked.
"""

from pathlib import Path

import psycopg2
import pytest
import trustme

from dev.lab.neon_proxy import HOST, NeonProxy
from migrations.__main__ import migrate
from tests.support.documents.operations import Operation
from tests.support.documents.traffic import each_operation_on_the_database, traffic_of
from tests.support.http.apps import app_on
from tests.support.http.clients import Api
from tests.support.http.users import new_user
from todo_api.database import engine
from todo_api.database.url import neon_options

pytestmark = pytest.mark.slow

WARNING = "direct TLS failed, falling back to SSLRequest for some minutes"


@pytest.fixture(scope="module")
def neon_api(neon: NeonProxy) -> Api:
    """An API with the URL that the documents ask for."""
    return app_on(neon.documented_uri())


def test_the_documented_url_takes_six_round_trips_and_the_row_arrives(
    neon: NeonProxy, neon_api: Api
) -> None:
    user = new_user("documented", neon_api)
    todo = user.create(title="Buy milk")
    with neon.counter.watch(delay=0.01) as traffic:
        items = user.list()
    assert items == [todo, *reversed(user.todos)]
    tcp = traffic.connections  # its handshake ends in the counter, which does not count it
    assert (traffic.connections, len(traffic.statements), tcp + traffic.round_trips) == (1, 1, 6)


@each_operation_on_the_database
def test_a_request_takes_one_round_trip_less_than_bare_psycopg2(
    neon: NeonProxy, neon_api: Api, operation: Operation
) -> None:
    counted = traffic_of(operation, neon_api, neon.counter)
    with neon.counter.watch(delay=0.01) as bare:
        connection = psycopg2.connect(neon.documented_uri())
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.close()
    assert counted == dict.fromkeys(counted, (1, 1, bare.round_trips - 1))


@pytest.mark.parametrize("reaction", ["hang up", "hang"])
def test_a_server_that_wants_to_be_asked_for_tls_is_reached_and_remembered(
    neon: NeonProxy,
    reaction: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(neon, "direct_tls", reaction)
    call = app_on(neon.uri(), database_timeout_seconds=8)
    for expected in (2, 1, 1):
        with neon.counter.watch() as traffic:
            assert call("GET", "/v1/todos", user="x").status == 200
        assert traffic.connections == expected
    assert [line.getMessage() for line in caplog.records if line.levelname == "WARNING"] == [
        WARNING
    ]


def test_direct_tls_is_tried_again_after_some_minutes(
    neon: NeonProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "DIRECT_TLS_OFF_SECONDS", 0)
    call = app_on(neon.uri(), database_timeout_seconds=2)
    with monkeypatch.context() as moment, neon.counter.watch() as failed:
        moment.setattr(neon, "direct_tls", "hang up")
        assert call("GET", "/v1/todos", user="x").status == 503
    with neon.counter.watch(delay=0.01) as later:
        assert call("GET", "/v1/todos", user="x").status == 200
    assert failed.connections > 1
    assert later.connections + later.round_trips == 6


def test_an_unverified_certificate_is_not_tried_again(neon: NeonProxy, tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "another-ca.pem"))
    call = app_on(neon.uri(sslrootcert=str(tmp_path / "another-ca.pem")))
    with neon.counter.watch() as traffic:
        assert call("GET", "/v1/todos", user="x").status == 503
    assert traffic.connections == 1


def test_the_url_can_ask_for_the_negotiation_itself(neon: NeonProxy) -> None:
    with neon.counter.watch(delay=0.01) as bare:
        psycopg2.connect(neon.uri()).close()
    call = app_on(neon.uri(sslnegotiation="postgres"))
    with neon.counter.watch(delay=0.01) as ours:
        assert call("GET", "/v1/todos", user="x").status == 200
    assert ours.round_trips == bare.round_trips + 1  # the statement


def test_migrations_start_tls_directly_too(neon: NeonProxy) -> None:
    with neon.counter.watch(delay=0.001) as asked:
        migrate(neon.uri(sslnegotiation="postgres"))
    with neon.counter.watch(delay=0.001) as direct:
        migrate(neon.uri())
    assert direct.round_trips == asked.round_trips - asked.connections


@pytest.mark.parametrize(
    ("host", "query", "expected"),
    [
        (HOST, "sslmode=require", True),
        (HOST, "sslmode=verify-full&channel_binding=require", True),
        (HOST, "sslmode=prefer", False),
        (HOST, "", False),
        (HOST, "sslmode=require&sslnegotiation=postgres", False),
        ("neon.tech", "sslmode=require", False),
        ("ep-a.neon.tech.example", "sslmode=require", False),
        ("localhost", "sslmode=require", False),
    ],
)
def test_direct_tls_is_for_encrypted_connections_to_neons_hosts(
    host: str, query: str, *, expected: bool
) -> None:
    options = neon_options(f"postgresql://u:p@{host}/db?{query}")
    assert (options.get("sslnegotiation") == "direct") is expected
