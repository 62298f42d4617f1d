"""Rotating the function's login loses no request."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from moto import mock_aws
from psycopg2.extensions import parse_dsn

from deploy.runtime_login import renew
from dev.lab.pgbouncer import pgbouncer
from dev.lab.sql import run_sql
from tests.support.postgres.logins import MemoryParameter, new_stage
from todo_api.database.engine import Database
from todo_api.database.parameter_store import url_reader
from todo_api.database.todos import TodoRepository
from todo_api.models.todos import TodoCreate, TodoQuery

pytestmark = pytest.mark.slow

NAME = "/todo-api/dev/neon-database-url-runtime"


class Instance:
    """An instance of the function under load: one request after the other."""

    def __init__(self, user_id: str) -> None:
        read = url_reader(None, NAME)

        def counted() -> str:
            self.reads += 1
            return read()

        self.user_id = user_id
        self.reads = 0
        self.requests = 0
        self.database = Database(counted)

    def run(self, stop: threading.Event) -> None:
        """Send requests until the end; any failure of one raises."""
        while not stop.is_set():
            with self.database.session(user_id=self.user_id, timeout_seconds=8) as session:
                TodoRepository(session, self.user_id).create(TodoCreate(title="x"))
            with self.database.session(user_id=self.user_id, timeout_seconds=8) as session:
                TodoRepository(session, self.user_id).list(TodoQuery())
            self.requests += 1


def rotate_under_load(owner: str) -> list[int]:
    """Rotate the login twice while four instances send requests.

    Returns how often each has read the parameter.
    """
    with mock_aws(), ThreadPoolExecutor(4) as executor:
        ssm = boto3.client("ssm", region_name="eu-central-1")

        class Parameter(MemoryParameter):
            """The parameter, in moto's Parameter Store."""

            def write(self, url: str) -> None:
                super().write(url)
                ssm.put_parameter(Name=NAME, Value=url, Type="SecureString", Overwrite=True)

        stage = new_stage()
        parameter = Parameter()
        renew(owner, stage, parameter)
        instances = [Instance(f"instance-{number}") for number in range(4)]
        stop = threading.Event()
        outcomes = [executor.submit(instance.run, stop) for instance in instances]

        def wait_for_requests_of_each() -> None:
            before = [instance.requests for instance in instances]
            while any(now.requests < then + 2 for now, then in zip(instances, before, strict=True)):
                if any(outcome.done() for outcome in outcomes):
                    return  # a request has failed
                time.sleep(0.01)

        try:
            for _ in range(2):
                wait_for_requests_of_each()
                assert len(renew(owner, stage, parameter, rotate=True, request_seconds=15)) == 1
            wait_for_requests_of_each()
        finally:
            stop.set()
        for outcome in outcomes:
            outcome.result()
        return [instance.reads for instance in instances]


@pytest.mark.usefixtures("aws_environment")
def test_rotations_under_load_lose_no_request(owner: str) -> None:
    assert rotate_under_load(owner) == [3] * 4


@pytest.mark.pgbouncer
@pytest.mark.usefixtures("aws_environment")
def test_rotations_under_load_lose_no_request_behind_pgbouncer(database: str) -> None:
    with pgbouncer(database) as pooler:
        assert rotate_under_load(pooler.uri()) == [3] * 4


@pytest.mark.pgbouncer
def test_the_connections_that_pgbouncer_keeps_of_an_old_login_end(database: str) -> None:
    with pgbouncer(database) as pooler:
        stage = new_stage()
        parameter = MemoryParameter()
        renew(pooler.uri(), stage, parameter)
        old = parse_dsn(parameter.value)["user"]
        sessions = "SELECT usename FROM pg_stat_activity WHERE usename IS NOT NULL"
        assert (old,) in run_sql(database, sessions)
        start = time.monotonic()
        renew(pooler.uri(), stage, parameter, rotate=True, request_seconds=60)
        assert time.monotonic() - start < 60
        assert (old,) not in run_sql(database, sessions)
