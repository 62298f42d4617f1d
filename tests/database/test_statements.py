"""Every statement that the operations of the API's document send, as PostgreSQL receives it."""

import runpy
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import coverage
import pytest
import sqlglot
from sqlglot import exp

import todo_api.database
from dev.lab.proxy import TrafficCounter
from dev.lab.sql import rows_of
from tests.support.documents.operations import CannotSend, Operation
from tests.support.documents.schemas import undocumented
from tests.support.documents.walk import Caller, Request, new_caller
from tests.support.http.clients import Api
from tests.support.postgres.statements import unlimited

WITHOUT_STATEMENTS_OF_USERS = {
    *("__init__.py", "deadline.py", "engine.py", "errors.py", "refusals.py"),
    *("parameter_store.py", "url.py"),
    *("isolation.py", "catalog.py", "differences.py", "readiness.py"),
}
"""The modules of the database layer that send nothing for a user."""

DATABASE_LAYER = Path(todo_api.database.__path__[0])

WITH_STATEMENTS = sorted(
    path
    for path in DATABASE_LAYER.rglob("*.py")
    if str(path.relative_to(DATABASE_LAYER)) not in WITHOUT_STATEMENTS_OF_USERS
)


@dataclass
class Walk:
    """What happened in one walk over the operations."""

    caller: Caller
    failures: list[str] = field(default_factory=list)
    undocumented: list[str] = field(default_factory=list)
    """The keys in responses that the document does not name."""

    sent: dict[str, list[str]] = field(default_factory=dict)
    """The statements of each request of an operation that needs a user."""

    unexecuted: list[str] = field(default_factory=list)
    """The lines in the modules with statements that no request has executed."""


@pytest.fixture(scope="module")
def walk(lambda_api: Api, wire: TrafficCounter) -> Walk:
    """Send every request of the document as a user, while another user has rows too."""
    new_caller("another", lambda_api)
    walk = Walk(new_caller("caller", lambda_api))
    # `coverage` knows what a statement of Python is, over several lines and in each thread.
    measured = coverage.Coverage(
        data_file=None, config_file=False, include=[str(path) for path in WITH_STATEMENTS]
    )
    measured.clear_exclude()  # a comment in the code excludes nothing
    measured.exclude(r"^\s*raise\b")
    with measured.collect(), wire.watch() as traffic:
        for path in WITH_STATEMENTS:
            runpy.run_path(str(path))  # the definitions, which the import has executed before
        for operation in walk.caller.operations:
            try:
                _send_each(walk, operation, traffic.statements)
            except CannotSend as error:
                walk.failures.append(str(error))
    for path in WITH_STATEMENTS:
        *_, missing, _ = measured.analysis2(str(path))
        source = path.read_text().splitlines()
        name = path.relative_to(DATABASE_LAYER)
        walk.unexecuted += [f"{name}:{line}: {source[line - 1].strip()}" for line in missing]
    return walk


def _send_each(walk: Walk, operation: Operation, statements: list[str]) -> None:
    before = len(statements)
    for request in walk.caller.requests(operation):
        response = walk.caller.send(request)
        if not request.is_answered_by(response):
            walk.failures.append(f"{request.name}: {response.status} {response.body.decode()}")
        walk.undocumented += [f"{request.name}: {key}" for key in undocumented(operation, response)]
        if operation.needs_user:
            walk.sent[request.name] = statements[before:]
        before = len(statements)


def test_every_operation_is_sent_with_each_of_its_options(walk: Walk) -> None:
    assert walk.failures == []
    assert {operation.name for operation in walk.caller.operations if operation.needs_user} == {
        name.partition(" ")[0] for name in walk.sent
    }


def test_no_response_has_more_than_its_schema(walk: Walk) -> None:
    assert walk.undocumented == []


def test_every_statement_is_limited_to_the_caller(walk: Walk) -> None:
    assert _not_of(walk.caller, walk.sent) == []


def test_every_line_that_makes_a_statement_is_executed(walk: Walk) -> None:
    assert walk.unexecuted == []


def test_another_user_in_any_one_place_of_a_statement_is_noticed(walk: Walk) -> None:
    caller = walk.caller.user_id
    unnoticed = []
    count = 0
    for name, statements in walk.sent.items():
        for statement in statements:
            _session_setup, parsed = sqlglot.parse(statement, dialect="postgres")
            assert parsed
            places = [each for each in parsed.find_all(exp.Literal) if each.this == caller]
            count += len(places)
            for place in places:
                place.set("this", "somebody else")
                if not unlimited(parsed.sql("postgres"), caller):
                    unnoticed.append(f"{name}: {parsed.sql('postgres')}")
                place.set("this", caller)
    assert unnoticed == []
    assert count > len(walk.sent)  # a create also writes the user


def test_another_users_id_in_any_part_of_a_request_does_not_change_the_caller(
    lambda_api: Api, wire: TrafficCounter, database: str
) -> None:
    caller = new_caller("caller", lambda_api)
    another = new_caller("another", lambda_api)
    before = rows_of(database, another.user_id)
    mistakes = []
    for request in _with_value_everywhere(caller, another.user_id):
        with wire.watch() as traffic:
            response = caller.send(request)
        mistakes += _not_of(caller, {request.name: traffic.statements})
        if another.is_named_in(response):
            mistakes.append(f"{request.name}: {response.body.decode()}")
    assert mistakes == []
    assert rows_of(database, another.user_id) == before


def _with_value_everywhere(caller: Caller, value: str) -> Iterator[Request]:
    """Yield each operation's requests with this value as one of the options or ids."""
    for operation in caller.operations:
        if not operation.needs_user:
            continue
        request = next(caller.requests(operation))
        for option in operation.options:
            name = f"{operation.name} with another user's id as {option}"
            yield replace(request.with_value(option, value), name=name)
        for position, parameter in enumerate(operation.ids):
            ids = (*request.ids[:position], value, *request.ids[position + 1 :])
            name = f"{operation.name} with another user's id as {parameter}"
            yield replace(request, ids=ids, name=name)


def _not_of(caller: Caller, sent: dict[str, list[str]]) -> list[str]:
    """Return what is not limited to the caller, in the statement itself or in its session."""
    found = []
    session = f"set_config('app.user_id', '{caller.user_id}', true)"
    for name, statements in sent.items():
        for statement in statements:
            found += [f"{name}: {part}" for part in unlimited(statement, caller.user_id)]
            if session not in statement:
                found.append(f"{name}: for another user: {statement}")
    return found
