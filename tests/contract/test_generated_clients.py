"""Clients generated from docs/openapi.json by third-party tools work with the API."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from shutil import copy, copytree
from types import ModuleType
from typing import Any

import pytest
import re2

from tests.support.clients import Api
from tests.support.machine import NODE_TOOLS, ROOT

DOCUMENT = ROOT / "docs/openapi.json"


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command that must succeed, and return its standard output."""
    parts = [str(part) for part in command]
    outcome = subprocess.run(parts, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


def test_lock_file_contains_no_registry_urls() -> None:
    """With URLs, which `npm install` may add, npm would ignore the registry that the machine is configured for."""
    assert '"resolved"' not in (ROOT / "package-lock.json").read_text()


@pytest.mark.node
def test_strictly_typed_typescript_client_can_call_every_operation(local_port: int, tmp_path: Path) -> None:
    program = copytree(ROOT / "tests/contract/typescript", tmp_path / "program")
    (program / "node_modules").symlink_to(ROOT / "node_modules")
    (program / "package.json").write_text('{"type": "module"}')
    run(NODE_TOOLS / "openapi-typescript", DOCUMENT, "--output", program / "schema.ts", cwd=program)
    run(NODE_TOOLS / "tsc", "--project", ".", cwd=program)
    assert run("node", "operations.js", f"http://127.0.0.1:{local_port}", cwd=program) == "every operation works\n"


def test_every_pattern_compiles_in_python_and_in_re2() -> None:
    """RE2 is the regular expression syntax of Go."""
    patterns = _patterns(json.loads(DOCUMENT.read_text()))
    assert patterns
    for pattern in patterns:
        assert pattern.isascii()
        assert re.compile(pattern)
        assert re2.compile(pattern)


@pytest.mark.node
def test_every_pattern_compiles_in_javascript(tmp_path: Path) -> None:
    """JSON Schema uses the flag `u`."""
    patterns = json.dumps(_patterns(json.loads(DOCUMENT.read_text())))
    script = "JSON.parse(process.argv[1]).forEach((pattern) => console.log(new RegExp(pattern, 'u').source))"
    assert run("node", "--eval", script, patterns, cwd=tmp_path).splitlines() == json.loads(patterns)


def _patterns(node: Any) -> list[str]:
    if isinstance(node, list):
        return [pattern for child in node for pattern in _patterns(child)]
    if not isinstance(node, dict):
        return []
    assert not {"pattern", "format"} <= set(node), node  # some tools check both
    own = [node["pattern"]] if isinstance(node.get("pattern"), str) else []
    return own + [pattern for child in node.values() for pattern in _patterns(child)]


@pytest.mark.node
def test_generated_zod_schemas_accept_the_longest_title(local_api: Api, tmp_path: Path) -> None:
    """The title has 255 code points and 510 UTF-16 code units, which zod counts."""
    created = local_api("POST", "/v1/todos", user="zod", json={"title": "😀" * 255})
    assert created.status == 201
    copy(ROOT / "tests/contract/typescript/zod.ts", tmp_path)
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    (tmp_path / "package.json").write_text('{"dependencies": {"zod": "4"}}')
    run(NODE_TOOLS / "openapi-ts", "-i", DOCUMENT, "-o", "hey-api", "-p", "zod", "@hey-api/typescript", cwd=tmp_path)
    run(NODE_TOOLS / "orval", "--input", DOCUMENT, "--output", "./orval.ts", "--client", "zod", cwd=tmp_path)
    options = ["--strict", "--esModuleInterop", "--target", "es2022", "--module", "commonjs", "--types", "node"]
    run(NODE_TOOLS / "tsc", *options, "--moduleResolution", "node10", "zod.ts", cwd=tmp_path)
    assert run("node", "zod.js", created.body.decode(), cwd=tmp_path) == "both schemas accept the todo\n"


@pytest.mark.parametrize(
    ("language", "checker"),
    [
        pytest.param("ruby", ("ruby", "-c"), marks=pytest.mark.ruby),
        pytest.param("php", ("php", "-l"), marks=pytest.mark.php),
    ],
)
def test_every_file_of_a_generated_client_has_valid_syntax(
    tmp_path: Path, language: str, checker: tuple[str, ...]
) -> None:
    generator = Path(sys.executable).parent / "openapi-generator-cli"
    run(generator, "generate", "-i", DOCUMENT, "-g", language, "-o", tmp_path, cwd=tmp_path)
    files = [*tmp_path.rglob(f"*.{language.replace('ruby', 'rb')}")]
    assert {"todo_public", "TodoPublic"} & {file.stem for file in files}
    for file in files:
        run(*checker, file, cwd=tmp_path)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The generated Python package. An operation that the generator skips is a warning, so it fails."""
    generator = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"]
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the generator calls Ruff
    run(*generator, "--path", DOCUMENT, "--output-path", tmp_path / "todo_client", cwd=tmp_path, PATH=programs)
    monkeypatch.syspath_prepend(tmp_path)
    return import_module("todo_client")


@pytest.fixture
def user(package: ModuleType, local_port: int) -> Iterator[Any]:
    """A client that sends X-User-Id instead of a bearer token."""
    identity = {"token": "python", "prefix": "", "auth_header_name": "X-User-Id"}
    with package.AuthenticatedClient(f"http://127.0.0.1:{local_port}", **identity) as client:
        yield client


@pytest.fixture
def nobody(package: ModuleType, local_port: int) -> Iterator[Any]:
    """A client that sends no user."""
    with package.Client(f"http://127.0.0.1:{local_port}") as client:
        yield client


def call(client: Any, operation: str, *path: Any, status: int, **parts: Any) -> tuple[Any, Any]:
    """Call an operation of the generated package, and return the parsed body and the headers of the response."""
    response = import_module(f"todo_client.api.{operation}").sync_detailed(*path, client=client, **parts)
    assert response.status_code == status, response
    if status >= 400:
        assert (response.parsed.status, response.parsed.request_id) == (status, response.headers["X-Request-Id"])
    return response.parsed, response.headers


def test_python_client_can_call_every_operation(user: Any, nobody: Any) -> None:
    models = import_module("todo_client.models")

    # Create, also with an Idempotency-Key.
    milk = models.TodoCreate(title="  Buy milk ", description="Two of them")
    todo, created = call(user, "todos.create_todo", status=201, body=milk, idempotency_key="python-1")
    assert isinstance(todo, models.TodoPublic)
    assert (todo.user_id, todo.title, todo.is_completed) == ("python", "Buy milk", False)
    assert todo.created_at == todo.updated_at
    assert created["Location"] == f"/v1/todos/{todo.id}"
    assert "Idempotency-Replayed" not in created
    again, replayed = call(user, "todos.create_todo", status=201, body=milk, idempotency_key="python-1")
    assert (again, replayed["Idempotency-Replayed"]) == (todo, "true")
    other = models.TodoCreate(title="Another")
    reused, _ = call(user, "todos.create_todo", status=422, body=other, idempotency_key="python-1")
    assert reused.type_ == "urn:todo-api:problem:idempotency-key-reused"

    # List with a limit, a cursor and a filter.
    call(user, "todos.create_todo", status=201, body=models.TodoCreate(title="Done", is_completed=True))
    first, _ = call(user, "todos.list_todos", status=200, limit=1)
    assert [item.title for item in first.items] == ["Done"]
    last, _ = call(user, "todos.list_todos", status=200, limit=1, cursor=first.next_cursor)
    assert (last.items, last.next_cursor) == ([todo], None)
    assert call(user, "todos.list_todos", status=200, is_completed=False)[0].items == [todo]

    # Retrieve, also with If-None-Match.
    retrieved, headers = call(user, "todos.retrieve_todo", todo.id, status=200)
    tag = todo.etag
    assert headers["ETag"] == tag
    assert (retrieved, tag) == (todo, created["ETag"])
    unchanged, headers = call(user, "todos.retrieve_todo", todo.id, status=304, if_none_match=tag)
    assert (unchanged, headers["ETag"]) == (None, tag)

    # Update, replace and toggle, also with If-Match.
    cleared = models.TodoUpdate(description=None)
    updated, headers = call(user, "todos.update_todo", todo.id, status=200, body=cleared, if_match=tag)
    assert (updated.title, updated.description) == ("Buy milk", None)
    assert headers["ETag"] != tag
    late, _ = call(user, "todos.replace_todo", todo.id, status=412, body=other, if_match=tag)
    assert late.type_ == "urn:todo-api:problem:precondition-failed"
    replaced, _ = call(user, "todos.replace_todo", todo.id, status=200, body=other)
    assert replaced.title == "Another"
    toggled, _ = call(user, "todos.toggle_todo", todo.id, status=200)
    assert toggled.is_completed
    assert toggled.updated_at > replaced.updated_at

    # Errors.
    blank, _ = call(user, "todos.update_todo", todo.id, status=422, body=models.TodoUpdate(title=" "))
    (error,) = blank.errors
    assert error.to_dict() == {"in": "body", "field": "title", "detail": "Must not be blank"}
    unidentified, headers = call(nobody, "todos.list_todos", status=401)
    assert (unidentified.title, headers["WWW-Authenticate"]) == ("Not identified", "X-User-Id")

    # Delete.
    call(user, "todos.delete_todo", todo.id, status=204)
    assert call(user, "todos.retrieve_todo", todo.id, status=404)[0].type_ == "urn:todo-api:problem:todo-not-found"

    # Probes.
    assert call(nobody, "probes.check_health", status=200)[0].to_dict() == {"status": "ok"}
    assert call(nobody, "probes.check_readiness", status=200)[0].to_dict() == {"status": "ready"}
