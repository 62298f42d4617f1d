"""The database fails in every way there is: a clean 503 in time, nothing half-written, and the next request works."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg2
import pytest

from dev.postgres import Postgres
from migrations.__main__ import migrate
from tests.support.apps import app_on
from tests.support.assertions import assert_problem
from tests.support.clients import Context, invoke_app
from tests.support.events import http_api_event
from tests.support.fault_scenario import (
    BUDGET,
    FINE,
    NOT_EXECUTED,
    OPERATIONS,
    UNKNOWN,
    FaultScenario,
    afterwards,
    check,
)
from tests.support.machine import IN_A_NETWORK_OF_ITS_OWN, ROOT
from tests.support.pgbouncer import PgBouncer, pgbouncer
from tests.support.proxy import FaultyProxy, unresponsive_port
from tests.support.servers import free_port
from todo_api.app import create_app
from todo_api.settings import Settings


@pytest.fixture(scope="module")
def world(new_database: Callable[[], str]) -> FaultScenario:
    """The world on the shared PostgreSQL."""
    uri = new_database()
    migrate(uri)
    return FaultScenario(uri)


ON_THE_WAY = {
    "silent": (NOT_EXECUTED, "connect", "timed out"),
    "silent in the TLS handshake": (NOT_EXECUTED, "connect", "timed out"),
    "reset, then silent": (NOT_EXECUTED, "connect", "closed|reset"),
    "frozen before the query": (UNKNOWN, "execute", "timed out"),
    "frozen mid-answer": (UNKNOWN, "execute", "timed out"),
    "reset before the query": (UNKNOWN, "execute", "closed|reset"),
    "reset after the query was sent": (UNKNOWN, "execute", "closed|reset"),
    "reset mid-answer": (UNKNOWN, "execute", "closed|reset"),
}


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("trouble", ON_THE_WAY)
def test_trouble_on_the_way(
    world: FaultScenario, caplog: pytest.LogCaptureFixture, trouble: str, operation: str
) -> None:
    """The answer to a peer that freezes or breaks off, at each point of a request."""
    outcome, phase, reason = ON_THE_WAY[trouble]
    with app_on(world.uri(), database_timeout_seconds=BUDGET) as call:
        world.proxy.trouble = trouble
        line = check(world, call, operation, {outcome}, caplog)
        assert (line["phase"], line["sqlstate"]) == (phase, None)
        assert re.search(reason, line["reason"])
        afterwards(world, call)


@pytest.mark.parametrize("trouble", [trouble for trouble, (outcome, *_) in ON_THE_WAY.items() if outcome == UNKNOWN])
def test_a_create_of_unknown_outcome_can_be_sent_again_with_its_key(world: FaultScenario, trouble: str) -> None:
    """After a cut connection the retry ends with one todo, whether or not the first create took effect."""
    before = world.rows()
    headers = {"Idempotency-Key": trouble.replace(" ", "-")}
    request: dict[str, Any] = {"user": world.user, "json": {"title": "once"}, "headers": headers}
    with app_on(world.uri(), database_timeout_seconds=BUDGET) as call:
        world.proxy.trouble = trouble
        assert assert_problem(call("POST", "/v1/todos", **request), 503)["type"].endswith(UNKNOWN)
        has_run = len(world.rows()) - len(before)
        assert has_run == (0 if trouble.endswith("before the query") else 1)
        afterwards(world)
        retry = call("POST", "/v1/todos", **request)
    assert retry.status == 201
    assert ("idempotency-replayed" in retry.headers) is bool(has_run)
    assert world.rows() - before == {retry.json()["id"]}
    world.acknowledged.add(retry.json()["id"])


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("sqlstate", "fault"),
    [
        ("53100", "disk full"),
        ("53300", "too many connections"),
        ("40001", "serialization failure"),
        ("XX001", "bad data"),
    ],
)
def test_the_server_refuses_a_statement(
    world: FaultScenario, caplog: pytest.LogCaptureFixture, sqlstate: str, fault: str, operation: str
) -> None:
    """An error of the server's own is told as one, with its SQLSTATE in the log."""
    assert fault
    with app_on(world.uri(), database_timeout_seconds=BUDGET) as call:
        world.proxy.sqlstate = sqlstate
        line = check(world, call, operation, {NOT_EXECUTED}, caplog)
        assert (line["phase"], line["sqlstate"]) == ("execute", sqlstate)
        afterwards(world, call)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_host_cannot_be_reached(world: FaultScenario, caplog: pytest.LogCaptureFixture, operation: str) -> None:
    """A name that does not resolve, a port where nobody listens, and an address that does not answer to TCP."""
    with unresponsive_port("127.0.0.2") as deaf:
        for parts, reason in (
            # No resolver takes a name with a space, so none is asked: how soon one answers is no claim of this test.
            ({"host": "no%20host"}, "could not translate host name"),
            ({"port": str(free_port())}, "Connection refused"),
            ({"host": "127.0.0.2", "port": str(deaf)}, "TCP connect timed out"),
        ):
            with app_on(world.uri(**parts), database_timeout_seconds=BUDGET) as call:
                line = check(world, call, operation, {NOT_EXECUTED}, caplog)
                assert line["message"] == "database unavailable"
                assert reason in line["reason"]
    afterwards(world)


@pytest.mark.namespaces
def test_a_name_server_that_never_answers_is_waited_for_as_long_as_the_deploy_says(tmp_path: Path) -> None:
    """The deploy's RES_OPTIONS, two questions of 1 s each, end what the request's time cannot: a lookup."""
    (options,) = re.findall(r'RES_OPTIONS: "(.*)"', (ROOT / "serverless.yml").read_text())
    command = [*IN_A_NETWORK_OF_ITS_OWN, sys.executable, "-m", "tests.support.unresponsive_resolver", str(tmp_path)]
    run = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"RES_OPTIONS": options}, stdout=subprocess.PIPE, check=True, timeout=60
    )
    outcome = json.loads(run.stdout)
    assert (outcome["status"], outcome["problem"]["type"].rpartition(":")[2]) == (503, NOT_EXECUTED)
    assert outcome["asked"]
    assert outcome["seconds"] < BUDGET + 2 + 1


@pytest.mark.parametrize("operation", OPERATIONS)
def test_of_two_addresses_one_is_silent(world: FaultScenario, caplog: pytest.LogCaptureFixture, operation: str) -> None:
    """A silent address does not eat the time that another one would have answered in."""
    with unresponsive_port("127.0.0.2") as deaf:
        # Which one comes first is drawn by lot in each attempt, and a request has time for four.
        with app_on(world.uri(host=f"127.0.0.2:{deaf},127.0.0.1"), database_timeout_seconds=BUDGET) as call:
            fine = 0
            for _ in range(8):
                check(world, call, operation, {FINE, NOT_EXECUTED, UNKNOWN}, caplog)
                fine += caplog.records[-1].__dict__["status"] < 300
        assert fine >= 4
    with app_on(world.uri()) as call:
        afterwards(world, call)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_configuration_is_wrong(world: FaultScenario, caplog: pytest.LogCaptureFixture, operation: str) -> None:
    """A wrong password, database or user is told without using up the 8 s, as a matter of configuration."""
    for parts in ({"password": "wrong"}, {"dbname": "no_such_database"}, {"user": "no_such_user"}):
        with app_on(world.uri(**parts)) as call:
            line = check(world, call, operation, {NOT_EXECUTED}, caplog, at_most=4)
            assert (line["message"], line["phase"]) == ("database misconfigured", "connect")
    afterwards(world)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_role_to_switch_to_is_missing(
    world: FaultScenario, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    """A login role that may not switch, or has nothing to switch to, is a matter of configuration too."""
    preamble = "todo_api.app.SESSION_SETUP_SQL"
    from todo_api.database.repository import SESSION_SETUP_SQL

    monkeypatch.setattr(preamble, SESSION_SETUP_SQL.replace("todo_app", "no_such_role"))
    with app_on(world.uri(), database_timeout_seconds=BUDGET) as call:
        line = check(world, call, operation, {NOT_EXECUTED}, caplog)
    assert (line["message"], line["phase"], line["sqlstate"]) == ("database misconfigured", "execute", "22023")
    monkeypatch.undo()
    with world.superuser() as cursor:
        cursor.execute("DROP ROLE IF EXISTS stranger")
        cursor.execute("CREATE ROLE stranger LOGIN PASSWORD %s", (world.parts["password"],))
    with app_on(world.uri(user="stranger"), database_timeout_seconds=BUDGET) as call:
        line = check(world, call, operation, {NOT_EXECUTED}, caplog)
    assert (line["message"], line["phase"], line["sqlstate"]) == ("database misconfigured", "execute", "42501")
    afterwards(world)


@contextmanager
def locked(world: FaultScenario) -> Iterator[None]:
    """The table is locked by somebody else."""
    connection = psycopg2.connect(world.database)
    with connection.cursor() as cursor:
        cursor.execute("LOCK TABLE todos IN ACCESS EXCLUSIVE MODE")
    yield
    connection.rollback()
    connection.close()


@contextmanager
def slow(world: FaultScenario) -> Iterator[None]:
    """Every row takes 3 s."""
    with world.superuser() as cursor:
        sleeping = "pg_sleep(3) IS NOT NULL"
        cursor.execute(f"CREATE POLICY slow ON todos AS RESTRICTIVE USING ({sleeping}) WITH CHECK ({sleeping})")
        yield
        cursor.execute("DROP POLICY slow ON todos")


@contextmanager
def read_only(world: FaultScenario) -> Iterator[None]:
    """The database takes no writes, as a replica."""
    with world.superuser() as cursor:
        cursor.execute(f"ALTER DATABASE {world.parts['dbname']} SET default_transaction_read_only = on")
        yield
        cursor.execute("SET default_transaction_read_only = off")
        cursor.execute(f"ALTER DATABASE {world.parts['dbname']} RESET default_transaction_read_only")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(("fault", "sqlstate"), [(locked, "57014"), (slow, "57014"), (read_only, "25006")])
def test_the_database_is_busy_or_takes_no_writes(
    world: FaultScenario, caplog: pytest.LogCaptureFixture, fault: Any, sqlstate: str, operation: str
) -> None:
    """A lock, a slow statement and a read-only database end in the server's own refusal, in time."""
    with app_on(world.uri(), database_timeout_seconds=2 * BUDGET) as call:  # the server has nine tenths of it
        readable = fault is read_only and operation == "list"
        with _rows_are_read_past(world, fault), fault(world):
            outcome = FINE if readable else NOT_EXECUTED
            line = check(world, call, operation, {outcome}, caplog, at_most=2 * BUDGET + 1)
            assert readable or (line["phase"], line["sqlstate"]) == ("execute", sqlstate)
        afterwards(world, call)


@contextmanager
def _rows_are_read_past(world: FaultScenario, fault: Any) -> Iterator[None]:
    """While the table is locked, what it holds is taken as it was: nobody else can read it either."""
    if fault is not locked:
        yield
        return
    rows = world.rows()
    world.rows = lambda: rows  # type: ignore[method-assign]  # for as long as the lock is held
    try:
        yield
    finally:
        del world.rows
    assert world.rows() == rows


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_administrator_terminates_the_statement(
    world: FaultScenario, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    """A farewell is not taken for a refusal: it may have come just after the statement took effect."""

    def terminate() -> None:
        with world.superuser() as cursor:
            for _ in range(500):
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE wait_event_type = 'Lock' AND datname = current_database()"
                )
                if cursor.fetchall():
                    return
                time.sleep(0.01)

    with app_on(world.uri()) as call:
        with _rows_are_read_past(world, locked), locked(world):
            terminator = threading.Thread(target=terminate)
            terminator.start()
            line = check(world, call, operation, {UNKNOWN}, caplog, at_most=7)
            terminator.join()
        assert line["phase"] == "execute"
        assert "terminating connection due to administrator command" in line["reason"]
        afterwards(world, call)


def test_postgresql_restarts(caplog: pytest.LogCaptureFixture) -> None:
    """Requests around a crash of PostgreSQL succeed or are told apart, and acknowledged rows are there."""
    with TemporaryDirectory(prefix="todo-api-restart-") as folder, Postgres(Path(folder)) as postgres:
        migrate(postgres.uri)
        world = FaultScenario(postgres.uri)
        status = Path(folder) / "data" / "postmaster.pid"
        with app_on(world.uri(), database_timeout_seconds=BUDGET) as call:
            for operation in OPERATIONS:
                rows = world.rows()
                os.kill(int(status.read_text().split()[0]), signal.SIGKILL)
                began = time.monotonic()
                answer = world.request(call, operation)
                assert time.monotonic() - began < BUDGET + 1
                assert answer.status in (200, 201) or assert_problem(answer, 503)
                _wait_until(lambda: world.connections() >= 0)
                assert world.acknowledged | rows <= world.rows()
        afterwards(world, call)
    assert not [record for record in caplog.records if "unexpected" in record.getMessage()]


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except psycopg2.OperationalError:
            time.sleep(0.02)
    raise TimeoutError


@pytest.mark.parametrize("seconds", [0.5, 3, 6])
def test_a_sleeping_compute_wakes_up(world: FaultScenario, caplog: pytest.LogCaptureFixture, seconds: float) -> None:
    """With the default time a request waits for a database that answers late."""
    with app_on(world.uri()) as call:
        world.proxy.sleep_seconds = seconds
        check(world, call, "create", {FINE}, caplog, at_most=8)
        afterwards(world, call)


def test_a_pooler_that_is_back_in_time_is_found(world: FaultScenario, caplog: pytest.LogCaptureFixture) -> None:
    """Only connecting is tried again: refused at first, answered once somebody listens."""
    port = free_port()
    late: list[FaultyProxy] = []

    def begin() -> None:
        time.sleep(0.5)
        late.append(FaultyProxy(int(world.parts["port"]), port))

    thread = threading.Thread(target=begin)
    with app_on(world.uri(port=str(port))) as call:
        thread.start()
        check(world, call, "create", {FINE}, caplog, at_most=4)
        thread.join()


def test_lambda_s_own_deadline_counts_too(world: FaultScenario, caplog: pytest.LogCaptureFixture) -> None:
    """The time is the smaller of the setting and what the invocation has left, less a margin."""
    app = create_app(Settings(neon_database_url=world.uri()))

    class Late(Context):
        remaining = 1_500

        def get_remaining_time_in_millis(self) -> int:
            return self.remaining

    world.proxy.trouble = "silent"
    began = time.monotonic()
    answer = invoke_app(app, http_api_event("GET", "/v1/todos", {"X-User-Id": "x"}, None), Late())
    assert 0.4 < time.monotonic() - began < Late.remaining / 1000
    assert_problem(answer, 503)
    Late.remaining = 500
    assert_problem(invoke_app(app, http_api_event("GET", "/v1/todos", {"X-User-Id": "x"}, None), Late()), 503)
    afterwards(world)
    assert caplog


# --- PgBouncer's own refusals -----------------------------------------------------------------------------------------


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes what a test opened."""
    with ExitStack() as opened:
        yield opened


@pytest.mark.pgbouncer
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_certificate_is_somebody_else_s(
    world: FaultScenario, stack: ExitStack, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    """`verify-full` refuses a certificate of another authority, and one for another name."""
    one: PgBouncer = stack.enter_context(pgbouncer(world.database))
    other: PgBouncer = stack.enter_context(pgbouncer(world.database))
    for uri in (one.uri(sslrootcert=str(other.ca)), one.uri().replace("@localhost", "@127.0.0.1")):
        with app_on(uri) as call:
            line = check(world, call, operation, {NOT_EXECUTED}, caplog, at_most=4)
            assert line["message"] == "database misconfigured"
            assert "certificate" in line["reason"]
    with app_on(one.uri()) as call:
        assert world.request(call, operation).status in (200, 201)


@pytest.mark.pgbouncer
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_pooler_refuses_the_password(
    world: FaultScenario, stack: ExitStack, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    """PgBouncer's words for a wrong password are understood, and cost no time."""
    pooler = stack.enter_context(pgbouncer(world.database))
    wrong = pooler.uri().replace(str(world.parts["password"]), "wrong")
    with app_on(wrong) as call:
        line = check(world, call, operation, {NOT_EXECUTED}, caplog, at_most=4)
        assert line["message"] == "database misconfigured"
        assert "authentication failed" in line["reason"]


@pytest.mark.pgbouncer
@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_server_connection_becomes_free(
    world: FaultScenario, stack: ExitStack, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    """PgBouncer's `query_wait_timeout` is known to come before anything was sent on."""
    pooler = stack.enter_context(pgbouncer(world.database, default_pool_size=1, query_wait_timeout=0.4))
    occupied = psycopg2.connect(pooler.uri())
    with occupied.cursor() as cursor:
        cursor.execute("SELECT 1")
    with app_on(pooler.uri()) as call:
        line = check(world, call, operation, {NOT_EXECUTED}, caplog, at_most=4)
        assert "query_wait_timeout" in line["reason"]
        occupied.rollback()
        occupied.close()
        assert world.request(call, operation).status in (200, 201)


@pytest.mark.pgbouncer
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_pooler_takes_no_more_clients(
    world: FaultScenario, stack: ExitStack, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    """PgBouncer's `max_client_conn`: tried again while there is time, then told as not executed."""
    pooler = stack.enter_context(pgbouncer(world.database, max_client_conn=1))
    occupied = psycopg2.connect(pooler.uri())
    with app_on(pooler.uri(), database_timeout_seconds=BUDGET) as call:
        line = check(world, call, operation, {NOT_EXECUTED}, caplog)
        assert line["message"] == "database unavailable"
        assert "no more connections allowed" in line["reason"]
    with app_on(pooler.uri()) as call:  # with all of the 8 s, for the pauses between attempts are drawn by lot
        threading.Timer(0.3, occupied.close).start()
        assert world.request(call, operation).status in (200, 201)


# --- a long run -------------------------------------------------------------------------------------------------------


def test_requests_in_a_row_leave_nothing_behind(world: FaultScenario, *, soak: bool) -> None:
    """Neither connections nor memory pile up: at most 5 kB for each of 600 requests."""
    requests = 20_000 if soak else 600
    logging.getLogger("todo_api").setLevel(logging.ERROR)
    with app_on(world.database, log_level="ERROR") as call:
        sizes = []
        for number in range(200 + requests):
            assert world.request(call, OPERATIONS[number % 2 * 2]).status == 200
            if number in (199, 199 + requests):
                sizes.append(_resident_bytes())
    afterwards(world)
    assert sizes[1] - sizes[0] < 5_000 * 600


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
