"""Rotating the function's login loses no request."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import boto3
import psycopg2
import pytest
from moto import mock_aws

from deploy.runtime_login import close
from tests.support.clusters import created
from tests.support.pgbouncer import pgbouncer
from tests.support.sql import run_sql
from todo_api.database.engine import Database
from todo_api.database.todos import TodoRepository
from todo_api.database.url import url_reader
from todo_api.models.todos import TodoCreate, TodoQuery

NAME = "/todo-api/dev/neon-database-url-runtime"


def test_closing_refuses_the_password_and_leaves_open_connections_and_other_logins(
    owner: str,
) -> None:
    old, other = created(owner), created(owner)
    connection = psycopg2.connect(old)
    for not_its_own in (owner, other.replace("branch_x", "branch_y")):
        close(owner, not_its_own, "branch-x")
    close(owner, other, "dev")
    close(owner, old, "branch-x")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(old)
    with connection, connection.cursor() as cursor:
        cursor.execute("SET ROLE todo_app; SELECT count(*) FROM todos")
    connection.close()
    assert run_sql(other, "SELECT 1") == run_sql(owner, "SELECT 1") == [(1,)]


def test_the_logins_of_deploys_at_once_all_work(owner: str) -> None:
    """Whichever of them the parameter holds in the end."""
    old = created(owner)
    logins = [created(owner, old, rotate=True) for _ in range(2)]
    for _ in logins:
        close(owner, old, "branch-x")
    assert [run_sql(url, "SELECT 1") for url in logins] == [[(1,)]] * 2


class Instance:
    """An instance of the function under load: one request after the other."""

    def __init__(self, user_id: str) -> None:
        read = url_reader(None, NAME)

        def counted() -> str:
            self.reads += 1
            return read()

        self.user_id, self.reads, self.requests = user_id, 0, 0
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

        def put(url: str) -> None:
            ssm.put_parameter(Name=NAME, Value=url, Type="SecureString", Overwrite=True)

        put(current := created(owner))
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
                old, current = current, created(owner, current, rotate=True)
                put(current)
                wait_for_requests_of_each()
                close(owner, old, "branch-x")
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
    query = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1"
    with pgbouncer(database, auth_user="postgres", auth_query=query) as pooler:
        assert rotate_under_load(pooler.uri()) == [3] * 4
