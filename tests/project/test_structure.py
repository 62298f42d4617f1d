"""The architecture rules, checked on the syntax tree."""

import ast
import inspect
import os
import subprocess
import sys
import threading
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from types import FrameType

import pytest

from dev import ROOT
from tests.support.http.users import User
from todo_api.models.todos import TodoPublic, TodoUpdate

LAYERS = ("models", "database", "settings", "api", "app")
"""The folders and modules of the package. Each may import only itself and those before it."""

PACKAGE = {
    path: path.relative_to(ROOT / "todo_api").parts for path in (ROOT / "todo_api").rglob("*.py")
}
MODULES = sorted(path for path, parts in PACKAGE.items() if parts != ("__init__.py",))
NAMES = {".".join(("todo_api", *PACKAGE[path])).removesuffix(".py"): path for path in MODULES}
HANDLER = ROOT / "handler.py"


def _layer(path: Path) -> str:
    return PACKAGE[path][0].removesuffix(".py")


@cache
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
    """Return the names used as `sa.name`, where `sa` is the usual alias of SQLAlchemy."""
    nodes = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)
    ]
    return {
        f"sqlalchemy.{node.attr}"
        for node in nodes
        if isinstance(node.value, ast.Name) and node.value.id == "sa"
    }


def _libraries(path: Path) -> set[str]:
    return {name.split(".")[0] for name in _imports(path)}


def _using(*libraries: str) -> set[str]:
    return {"/".join(PACKAGE[path]) for path in MODULES if _libraries(path) & set(libraries)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_module_imports_a_later_layer_or_development_code(path: Path) -> None:
    ours = {name.split(".")[1] for name in _imports(path) if name.startswith("todo_api.")}
    assert ours <= set(LAYERS[: LAYERS.index(_layer(path)) + 1])
    assert not _libraries(path) & {"dev", "migrations", "tests", "alembic"}


def test_the_architecture_has_the_layers_in_this_order() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    assert f": {' ← '.join(LAYERS)} ← handler (" in page


def test_development_code_imports_no_tests() -> None:
    """What the benchmark and the tests both need is in dev/lab."""
    modules = [*(ROOT / "dev").rglob("*.py")]
    assert [path.name for path in modules if "tests" in _libraries(path)] == []


def test_imports_have_no_cycles() -> None:
    graph = {
        name: {module for found in _imports(path) for module in (found, found.rpartition(".")[0])}
        & (NAMES.keys() - {name})
        for name, path in NAMES.items()
    }
    # `static_order` raises CycleError for a cycle.
    assert len([*TopologicalSorter(graph).static_order()]) == len(MODULES)


def test_each_library_is_imported_only_where_it_is_needed() -> None:
    """Framework, database libraries and environment each have their few modules."""
    framework = _using("fastapi", "starlette", "mangum")
    assert {path.partition("/")[0] for path in framework} == {"api", "app.py"}
    driver = ("deadline", "engine", "errors", "refusals", "url")
    assert _using("psycopg2") == {f"database/{name}.py" for name in driver}
    outside = {path for path in _using("sqlalchemy") if not path.startswith("database/")}
    assert outside == {"models/tables.py"}
    assert _using("os", "pydantic_settings") == {"settings.py"}


def test_only_the_database_layer_builds_sql() -> None:
    builders = {"select", "insert", "update", "delete", "text"}
    building = {
        _layer(path)
        for path in MODULES
        if any(
            name.startswith("sql") and name.rpartition(".")[2] in builders
            for name in _imports(path) | _used(path)
        )
    }
    assert building == {"database"}


SENDING = {
    *("connection", "exec", "exec_driver_sql", "execute", "get_bind", "get_one"),
    *("scalar", "scalars"),
}
"""Methods that send a statement, or lead to them, and that nothing but a session has."""


def _senders(path: Path) -> list[str]:
    """Return what could send a statement, and the classes of the tables, which it could read."""
    tree = ast.parse(path.read_text())
    sessions = {
        node.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.arg) and node.annotation and "Session" in ast.unparse(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            value = ast.unparse(node.value)
            is_session = value in sessions or value.endswith("session")
            if node.attr in SENDING or (is_session and node.attr != "info"):
                found.append(ast.unparse(node))
    for name in sorted(_imports(path)):
        if name.startswith("todo_api.models.tables") and not name.rpartition(".")[2].isupper():
            found.append(name)
    return found


def test_only_the_database_layer_sends_statements() -> None:
    """What another module sends, the tests of statements may not see."""
    outside = [path for path in MODULES if _layer(path) not in ("models", "database")]
    found = {"/".join(PACKAGE[path]): _senders(path) for path in outside}
    assert {path: senders for path, senders in found.items() if senders} == {}


def test_a_statement_sent_by_another_module_is_found(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "from todo_api.models.tables import TITLE_MAX, Todo\n"
        "def read(opened: CallerSession, lists: ListsDep, request: Request) -> None:\n"
        "    request.headers.get(opened.info['wait'])\n"
        "    opened.get(Todo, 1)\n"
        "    lists._session.delete(lists.list(TITLE_MAX))\n"
        "    other = opened\n"
        "    other.connection().exec_driver_sql('SELECT 1')\n"
    )
    assert _senders(path) == [
        *("opened.get", "lists._session.delete", "other.connection().exec_driver_sql"),
        *("other.connection", "todo_api.models.tables.Todo"),
    ]


def test_no_async_endpoint_can_send_a_statement() -> None:
    """While it waits for the database, no other request of the local server would run."""
    endpoints = {
        node.name: [argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]]
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.AsyncFunctionDef)
        if any(ast.unparse(each).startswith("router.") for each in node.decorator_list)
    }
    # None has a parameter, so a dependency, but the request.
    assert endpoints.pop("check_health") == []
    others = [name for name, given in endpoints.items() if given not in ([], ["request"])]
    assert others == []


def test_no_file_of_the_application_has_more_than_250_lines() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in [*MODULES, HANDLER]}
    assert [name for name, length in lengths.items() if length > 250] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_top_level_of_a_module_contains_only_definitions(path: Path) -> None:
    imports = (ast.Import, ast.ImportFrom)
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    definitions = (*imports, *functions, ast.ClassDef, ast.Assign, ast.AnnAssign)
    others = [
        node for node in ast.parse(path.read_text()).body if not isinstance(node, definitions)
    ]
    texts = [
        node
        for node in others
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    assert [ast.unparse(node) for node in others if node not in texts] == []


def test_importing_the_package_needs_no_environment_and_opens_no_socket() -> None:
    modules = ", ".join(NAMES).replace(".__init__", "")
    code = (
        "import logging, socket; socket.socket.connect = None; "
        f"import {modules}; print(logging.root.handlers)"
    )
    command = [sys.executable, "-c", code]
    outcome = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True, check=False)
    assert (outcome.stdout, outcome.stderr) == ("[]\n", "")


NEVER_USED = {
    *("alembic", "anyio._backends._trio", "boto3", "botocore", "email_validator", "httpx"),
    *("itsdangerous", "jinja2", "opentelemetry.sdk", "orjson", "python_multipart", "requests"),
    *("trio", "ujson", "unittest", "uvicorn", "yaml"),
}
"""Modules that no request needs, but that FastAPI or another library could import."""


def test_a_process_with_one_request_imports_no_unneeded_module(environment: dict[str, str]) -> None:
    code = (
        "import sys; import handler; "
        "from dev.bench.operations import event; from dev.bench.worker import CONTEXT; "
        "print(handler.handler(event('create', 'imports'), CONTEXT)['statusCode'], *sys.modules)"
    )
    command = [sys.executable, "-c", code]
    variables = os.environ | environment
    outcome = subprocess.run(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True, check=True
    )
    status, *imported = outcome.stdout.split()
    assert status == "201"
    assert {"fastapi", "sqlmodel", "psycopg2"} <= set(imported)
    assert NEVER_USED & set(imported) == set()


def test_the_code_of_one_request_is_in_at_most_thirteen_files(carol: User) -> None:
    """The functions that a PATCH calls, and the models that it fills. Their lines are printed."""
    path = f"/v1/todos/{carol.todos[0]['id']}"
    executed: dict[str, set[int]] = {}

    def record(frame: FrameType, *_: object) -> None:
        code = frame.f_code
        path = Path(code.co_filename)
        if path in PACKAGE:
            last = max(line for *_, line in code.co_lines() if line)
            lines = executed.setdefault("/".join(PACKAGE[path]), set())
            lines.update(range(code.co_firstlineno, last + 1))

    sys.setprofile(record)
    threading.setprofile(record)
    try:
        response = carol("PATCH", path, json={"title": "followed", "description": "x"})
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert response.status == 200
    executed["handler.py"] = set(range(len(HANDLER.read_text().splitlines())))
    for model in (TodoUpdate, TodoPublic):
        lines, first = inspect.getsourcelines(model)
        # A model without validators has no function that is called.
        executed.setdefault("models/todos.py", set()).update(range(first, first + len(lines)))
    total = sum(map(len, executed.values()))
    print(f"one PATCH executes {len(executed)} files and {total} lines: {sorted(executed)}")
    assert len(executed) <= 13
