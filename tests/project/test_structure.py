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

from tests.support.machine import ROOT
from tests.support.users import User
from todo_api.models.todo import TodoPublic, TodoUpdate

LAYERS = ("models", "database", "settings", "api", "app")
"""Folders and modules of the package. Each may import those before it."""

PACKAGE = {path: path.relative_to(ROOT / "todo_api").parts for path in (ROOT / "todo_api").rglob("*.py")}
MODULES = sorted(path for path, parts in PACKAGE.items() if parts != ("__init__.py",))


def _layer(path: Path) -> str:
    return PACKAGE[path][0].removesuffix(".py")


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


def _libraries(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(path)}


def _of(*layers: str) -> list[Path]:
    return [path for path in MODULES if _layer(path) in layers]


def _using(*libraries: str) -> set[str]:
    return {"/".join(PACKAGE[path]) for path in MODULES if _libraries(path) & set(libraries)}


def test_every_module_has_its_layer() -> None:
    """The list above is the whole package."""
    assert {_layer(path) for path in MODULES} == set(LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_imports_point_one_way(path: Path) -> None:
    """No module imports a later layer, or anything that stays off Lambda."""
    ours = {name.split(".")[1] for name in _imports(path) if name.startswith("todo_api.")}
    assert ours <= set(LAYERS[: LAYERS.index(_layer(path)) + 1])
    assert not _libraries(path) & {"dev", "migrations", "tests", "alembic"}


def test_no_two_modules_import_each_other() -> None:
    """The modules of a layer have an order too."""
    names = {".".join(("todo_api", *PACKAGE[path])).removesuffix(".py"): path for path in MODULES}
    needed = {
        name: {other for other in names if any(f"{found}.".startswith(f"{other}.") for found in _imports(path))}
        - {name}
        for name, path in names.items()
    }
    while free := {name for name, others in needed.items() if not others}:
        needed = {name: others - free for name, others in needed.items() if name not in free}
    assert needed == {}


@pytest.mark.parametrize("path", _of("models", "database", "settings"), ids=lambda path: path.stem)
def test_only_the_api_layer_knows_the_framework(path: Path) -> None:
    """FastAPI and Starlette are for the API layer and the application."""
    assert not _libraries(path) & {"fastapi", "starlette", "mangum"}


def test_sql_lives_in_one_file() -> None:
    """Only the repository builds statements, and who knows the database's libraries."""
    builders = {"select", "insert", "update", "delete", "text"}
    building = [
        path.name
        for path in MODULES
        if any(name.startswith("sql") and name.rpartition(".")[2] in builders for name in _imports(path) | _used(path))
    ]
    assert building == ["repository.py"]
    assert _using("psycopg2") == {f"database/{name}.py" for name in ("engine", "errors", "url")}
    of_sqlalchemy = {f"database/{name}.py" for name in ("engine", "errors", "repository")}
    assert _using("sqlalchemy") == {*of_sqlalchemy, "models/tables.py"}


def test_the_environment_is_read_in_one_file() -> None:
    """Only the settings look at it."""
    assert _using("os", "pydantic_settings") == {"settings.py"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_nothing_but_definitions_happens_at_import(path: Path) -> None:
    """A module's top level defines, and neither loops, nor branches, nor calls for an effect."""
    imports, functions = (ast.Import, ast.ImportFrom), (ast.FunctionDef, ast.AsyncFunctionDef)
    definitions = (*imports, *functions, ast.ClassDef, ast.Assign, ast.AnnAssign)
    others = [node for node in ast.parse(path.read_text()).body if not isinstance(node, definitions)]
    assert [ast.unparse(node) for node in others if not _is_text(node)] == []


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_importing_the_package_needs_no_environment_and_opens_no_socket() -> None:
    """In a process of its own, without a single variable and with sockets out of order."""
    modules = ", ".join(".".join(("todo_api", *PACKAGE[path])).removesuffix(".py") for path in MODULES)
    modules = modules.replace(".__init__", "")
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
    """For a process that has imported the handler and answered one request."""
    code = (
        "import sys; from dev.bench.operations import event; from dev.bench.worker import CONTEXT; import handler; "
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


def test_following_one_request_takes_at_most_ten_files_and_500_lines(carol: User) -> None:
    """The reader's budget: the functions that one PATCH runs through, and the models that it fills."""
    passed: dict[str, set[int]] = {}

    def note(frame: FrameType, *_: object) -> None:
        code = frame.f_code
        path = Path(code.co_filename)
        if path in PACKAGE:
            last = max(line for *_, line in code.co_lines() if line)
            passed.setdefault("/".join(PACKAGE[path]), set()).update(range(code.co_firstlineno, last + 1))

    sys.setprofile(note)
    threading.setprofile(note)
    try:
        answer = carol("PATCH", f"/v1/todos/{carol.todos[0]['id']}", json={"title": "followed", "description": "x"})
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert answer.status == 200
    passed["handler.py"] = set(range(len((ROOT / "handler.py").read_text().splitlines())))
    for model in (TodoUpdate, TodoPublic):
        lines, first = inspect.getsourcelines(model)
        passed["models/todo.py"] |= set(range(first, first + len(lines)))
    total = sum(map(len, passed.values()))
    print(f"one PATCH passes through {len(passed)} files and {total} lines: {sorted(passed)}")
    assert len(passed) <= 10
    assert total <= 500
