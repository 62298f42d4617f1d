"""The house rules, read from the syntax tree."""

import ast
import inspect
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

import pytest

from tests.conftest import ROOT, User
from todo_api import models

FLOORS = [
    "settings",
    "models",
    "database",
    "credentials",
    "repository",
    "identity",
    "preconditions",
    "problems",
    "openapi",
    "routes",
    "app",
]
"""A module may import those before it."""

BELOW_THE_WIRING = FLOORS[: FLOORS.index("identity")]
PACKAGE = {path.stem: path for path in (ROOT / "todo_api").glob("*.py") if path.stem != "__init__"}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _used(path: Path) -> set[str]:
    """What is used as `sa.name`, SQLAlchemy's usual short name."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    return {f"sqlalchemy.{node.attr}" for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "sa"}


def _libraries(module: str) -> set[str]:
    return {name.split(".")[0] for name in _imports(PACKAGE[module])}


def test_every_module_has_its_floor() -> None:
    """Proves that the list above is the whole package."""
    assert set(FLOORS) == set(PACKAGE)


@pytest.mark.parametrize("module", FLOORS)
def test_imports_point_one_way(module: str) -> None:
    """Proves that no module imports one of its own floor or above, or anything that stays off Lambda."""
    ours = {name.split(".")[1] for name in _imports(PACKAGE[module]) if name.startswith("todo_api.")}
    assert ours <= set(FLOORS[: FLOORS.index(module)])
    assert not _libraries(module) & {"dev", "migrations", "tests", "alembic"}


@pytest.mark.parametrize("module", BELOW_THE_WIRING)
def test_nothing_below_the_wiring_knows_the_framework(module: str) -> None:
    """Proves that only what handles requests imports FastAPI and Starlette."""
    assert not _libraries(module) & {"fastapi", "starlette", "mangum"}


def test_sql_lives_in_one_file() -> None:
    """Proves that only the repository builds statements, and that nothing above it knows the database's libraries."""
    builders = {"select", "insert", "update", "delete", "text"}
    building = {
        module
        for module, path in PACKAGE.items()
        if any(name.startswith("sql") and name.rpartition(".")[2] in builders for name in _imports(path) | _used(path))
    }
    assert building == {"repository"}
    knowing = {module for module in PACKAGE if _libraries(module) & {"sqlalchemy", "psycopg2"}}
    assert knowing == {"settings", "models", "database", "repository"}


def test_the_environment_is_read_in_one_file() -> None:
    """Proves that only the settings look at it."""
    assert {module for module in PACKAGE if _libraries(module) & {"os", "pydantic_settings"}} == {"settings"}


@pytest.mark.parametrize("module", FLOORS)
def test_nothing_but_definitions_happens_at_import(module: str) -> None:
    """Proves that a module's top level defines, and neither loops, nor branches, nor calls for an effect."""
    imports, functions = (ast.Import, ast.ImportFrom), (ast.FunctionDef, ast.AsyncFunctionDef)
    definitions = (*imports, *functions, ast.ClassDef, ast.Assign, ast.AnnAssign)
    others = [node for node in ast.parse(PACKAGE[module].read_text()).body if not isinstance(node, definitions)]
    assert [ast.unparse(node) for node in others if not _is_text(node)] == []


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_importing_the_package_needs_no_environment_and_opens_no_socket() -> None:
    """Proves it in a process of its own, without a single variable and with sockets out of order."""
    modules = ", ".join(f"todo_api.{module}" for module in FLOORS)
    code = f"import logging, socket; socket.socket.connect = None; import {modules}; print(logging.root.handlers)"
    command = [sys.executable, "-c", code]
    outcome = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, check=False)
    assert (outcome.stdout, outcome.stderr) == ("[]\n", "")


NEVER_USED = {
    *("alembic", "anyio._backends._trio", "boto3", "botocore", "email_validator", "httpx", "itsdangerous", "jinja2"),
    *("opentelemetry.sdk", "orjson", "python_multipart", "requests", "trio", "ujson", "unittest", "uvicorn", "yaml"),
}
"""What a request has no use for, though some of it is installed here and FastAPI or another library could import it."""


def test_nothing_is_imported_that_a_request_never_uses(environment: dict[str, str]) -> None:
    """Proves it for a process that has imported the handler and answered one request."""
    code = (
        "import sys; from bench.operations import event; from bench.worker import CONTEXT; import handler; "
        "print(handler.handler(event('create', 'imports'), CONTEXT)['statusCode'], *sys.modules)"
    )
    status, *imported = _printed(code, environment)
    assert status == "201"
    assert {"fastapi", "sqlmodel", "psycopg2"} <= set(imported)
    assert NEVER_USED & set(imported) == set()


def _printed(code: str, environment: dict[str, str]) -> list[str]:
    """The words that a process of its own prints."""
    command = [sys.executable, "-c", code]
    variables = os.environ | environment
    return subprocess.run(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()


def test_following_one_request_takes_at_most_eight_files_and_600_lines(carol: User) -> None:
    """Proves the reader's budget: the functions that one PATCH runs through, and the models that it fills."""
    passed: dict[str, set[int]] = {}

    def note(frame: FrameType, *_: object) -> None:
        code = frame.f_code
        path = Path(code.co_filename)
        if path.parent == ROOT / "todo_api":
            last = max(line for *_, line in code.co_lines() if line)
            passed.setdefault(path.name, set()).update(range(code.co_firstlineno, last + 1))

    sys.setprofile(note)
    threading.setprofile(note)
    try:
        answer = carol("PATCH", f"/v1/todos/{carol.todos[0]['id']}", json={"title": "followed", "description": "x"})
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert answer.status == 200
    passed["handler.py"] = set(range(len((ROOT / "handler.py").read_text().splitlines())))
    for model in (models.Todo, models.TodoUpdate, models.TodoPublic):
        lines, first = inspect.getsourcelines(model)
        passed["models.py"].update(range(first, first + len(lines)))
    way = ["handler.py", "app.py", "routes.py", "identity.py", "preconditions.py", "models.py", "repository.py"]
    way += ["database.py"]
    assert sorted(passed) == sorted(way)
    total = sum(map(len, passed.values()))
    print(f"one PATCH passes through {len(passed)} files and {total} lines")
    assert total <= 600
