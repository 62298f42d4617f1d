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
from typing import Any

import pytest
import re2

from dev import ROOT
from tests.support.documents.openapi import PATH as DOCUMENT
from tests.support.http.clients import Api
from tests.support.machine import NODE_TOOLS

PYTHON_TOOLS = Path(sys.executable).parent
TYPESCRIPT = ROOT / "tests/contract/typescript"
# A short run of Java does not need its second compiler.
FAST_START = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Run a command that must succeed, and return its standard output."""
    outcome = subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout


# --- patterns -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def patterns() -> list[str]:
    """The regular expressions of the document.

    None has a `format` too, because some tools check both.
    """
    found: list[str] = []

    def collect(node: dict[str, Any]) -> None:
        if "pattern" in node:
            assert "format" not in node
            found.append(node["pattern"])

    json.loads(DOCUMENT.read_text(), object_hook=collect)
    assert found
    return found


def test_every_pattern_compiles_in_python_and_in_re2(patterns: list[str]) -> None:
    """RE2 is the regular expression syntax of Go."""
    for pattern in patterns:
        assert pattern.isascii()
        assert re.compile(pattern)
        assert re2.compile(pattern)


@pytest.mark.node
def test_every_pattern_compiles_in_javascript(patterns: list[str], tmp_path: Path) -> None:
    """JSON Schema uses the flag `u`."""
    script = (
        "JSON.parse(process.argv[1])"
        ".forEach((pattern) => console.log(new RegExp(pattern, 'u').source))"
    )
    output = run("node", "--eval", script, json.dumps(patterns), cwd=tmp_path)
    assert output.splitlines() == patterns


# --- TypeScript, Ruby and PHP ---------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.node
def test_strictly_typed_typescript_client_can_call_every_operation(
    local_port: int, tmp_path: Path
) -> None:
    program = copytree(TYPESCRIPT, tmp_path / "program")
    (program / "node_modules").symlink_to(ROOT / "node_modules")
    (program / "package.json").write_text('{"type": "module"}')
    run(NODE_TOOLS / "openapi-typescript", DOCUMENT, "--output", "schema.ts", cwd=program)
    run(NODE_TOOLS / "tsc", "--project", ".", cwd=program)
    output = run("node", "operations.js", f"http://127.0.0.1:{local_port}", cwd=program)
    assert output == "every operation works\n"


@pytest.mark.slow
@pytest.mark.node
def test_generated_zod_schemas_accept_the_longest_title(local_api: Api, tmp_path: Path) -> None:
    """The title has 255 code points and 510 UTF-16 code units, which zod counts."""
    created = local_api("POST", "/v1/todos", user="zod", json={"title": "😀" * 255})
    assert created.status == 201
    copy(TYPESCRIPT / "zod.ts", tmp_path)
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    (tmp_path / "package.json").write_text('{"dependencies": {"zod": "4"}}')
    hey_api = ["-o", "hey-api", "-p", "zod", "@hey-api/typescript"]
    run(NODE_TOOLS / "openapi-ts", "-i", DOCUMENT, *hey_api, cwd=tmp_path)
    orval = ["--output", "./orval.ts", "--client", "zod"]
    run(NODE_TOOLS / "orval", "--input", DOCUMENT, *orval, cwd=tmp_path)
    options = ["--strict", "--esModuleInterop", "--skipLibCheck", "--types", "node"]
    options += ["--target", "es2022", "--module", "commonjs", "--moduleResolution", "node10"]
    run(NODE_TOOLS / "tsc", *options, "zod.ts", cwd=tmp_path)
    output = run("node", "zod.js", created.body.decode(), cwd=tmp_path)
    assert output == "both schemas accept the todo\n"


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("ruby", marks=pytest.mark.ruby),
        pytest.param("php", marks=pytest.mark.php),
    ],
)
def language(request: pytest.FixtureRequest) -> str:
    """A language, and the name of its program."""
    return str(request.param)


@pytest.fixture(scope="module")
def generated_client(language: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a client in the language."""
    folder = tmp_path_factory.mktemp(language)
    generator = PYTHON_TOOLS / "openapi-generator-cli"
    options = ["-i", str(DOCUMENT), "-g", language]
    run(generator, "generate", *options, cwd=folder, JAVA_TOOL_OPTIONS=FAST_START)
    return folder


@pytest.mark.slow
def test_every_file_of_a_generated_client_has_valid_syntax(
    language: str, generated_client: Path
) -> None:
    suffix, option = {"ruby": ("rb", "-c"), "php": ("php", "-l")}[language]
    files = [*generated_client.rglob(f"*.{suffix}")]
    assert {"todo_public", "TodoPublic"} & {file.stem for file in files}
    for file in files:
        run(language, option, file, cwd=generated_client)


@pytest.mark.slow
def test_generated_client_can_send_back_what_it_read(
    language: str, generated_client: Path, local_port: int
) -> None:
    (program,) = (ROOT / "tests/contract" / language).glob("send_back.*")
    arguments = [f"http://127.0.0.1:{local_port}", str(generated_client)]
    output = run(language, program, *arguments, cwd=generated_client)
    assert output.splitlines()[-1] == "the todo can be sent back"


# --- Python ---------------------------------------------------------------------------------------


@pytest.fixture
def clients(
    local_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Any, Any]]:
    """Two clients of the generated package, one with a user and one without.

    The user is in X-User-Id instead of a bearer token. An operation that the generator skips is a
    warning, so it fails.
    """
    generate = [sys.executable, "-m", "openapi_python_client", "generate"]
    options = ["--meta", "none", "--fail-on-warning", "--output-path", "todo_client"]
    programs = f"{PYTHON_TOOLS}{os.pathsep}{os.environ['PATH']}"  # the generator calls Ruff
    run(*generate, "--path", DOCUMENT, *options, cwd=tmp_path, PATH=programs)
    monkeypatch.syspath_prepend(tmp_path)
    package = import_module("todo_client")
    url = f"http://127.0.0.1:{local_port}"
    identity = {"token": "python", "prefix": "", "auth_header_name": "X-User-Id"}
    with package.AuthenticatedClient(url, **identity) as user, package.Client(url) as nobody:
        yield user, nobody


def call(client: Any, operation: str, *path: Any, status: int, **parts: Any) -> tuple[Any, Any]:
    """Call an operation of the generated package.

    Returns the parsed body and the headers of the response.
    """
    response = import_module(f"todo_client.api.{operation}").sync_detailed(
        *path, client=client, **parts
    )
    assert response.status_code == status, response
    if status >= 400:
        assert (response.parsed.status, response.parsed.request_id) == (
            status,
            response.headers["X-Request-Id"],
        )
    return response.parsed, response.headers


@pytest.mark.slow
def test_python_client_can_call_every_operation(clients: tuple[Any, Any]) -> None:
    user, nobody = clients
    models = import_module("todo_client.models")

    # Create, also with an Idempotency-Key.
    milk = models.TodoCreate(title="  Buy milk ", description="Two of them")
    tea = models.TodoCreate(title="Buy tea")
    todo, created = call(
        user, "todos.create_todo", status=201, body=milk, idempotency_key="python-1"
    )
    assert isinstance(todo, models.TodoPublic)
    assert (todo.user_id, todo.title, todo.is_completed) == ("python", "Buy milk", False)
    assert created["Location"] == f"/v1/todos/{todo.id}"
    again, replayed = call(
        user, "todos.create_todo", status=201, body=milk, idempotency_key="python-1"
    )
    assert (again, replayed["Idempotency-Replayed"]) == (todo, "true")

    # List with a limit, a cursor and a filter.
    done = models.TodoCreate(title="Done", is_completed=True)
    call(user, "todos.create_todo", status=201, body=done)
    first, _ = call(user, "todos.list_todos", status=200, limit=1)
    assert [item.title for item in first.items] == ["Done"]
    last, _ = call(user, "todos.list_todos", status=200, limit=1, cursor=first.next_cursor)
    assert (last.items, last.next_cursor) == ([todo], None)
    assert call(user, "todos.list_todos", status=200, is_completed=False)[0].items == [todo]

    # Retrieve, also with If-None-Match.
    retrieved, headers = call(user, "todos.retrieve_todo", todo.id, status=200)
    assert (retrieved, headers["ETag"]) == (todo, todo.etag)
    same, _ = call(user, "todos.retrieve_todo", todo.id, status=304, if_none_match=todo.etag)
    assert same is None

    # Update, replace and toggle, also with If-Match.
    cleared = models.TodoUpdate(description=None)
    updated, _ = call(
        user, "todos.update_todo", todo.id, status=200, body=cleared, if_match=todo.etag
    )
    assert (updated.title, updated.description) == ("Buy milk", None)
    late, _ = call(user, "todos.replace_todo", todo.id, status=412, body=tea, if_match=todo.etag)
    assert late.type_ == "urn:todo-api:problem:precondition-failed"
    assert call(user, "todos.replace_todo", todo.id, status=200, body=tea)[0].title == "Buy tea"

    # A todo that was serialized and loaded again.
    loaded = models.TodoPublic.from_dict(json.loads(json.dumps(retrieved.to_dict())))
    assert loaded == retrieved

    # What was read, changed and sent back: whole, and through the client's own type of an update.
    retrieved.title = "Sent back"
    whole, _ = call(user, "todos.replace_todo", todo.id, status=200, body=retrieved)
    assert (whole.title, whole.description) == ("Sent back", "Two of them")
    change = models.TodoUpdate.from_dict(retrieved.to_dict() | {"title": "Updated"})
    typed, _ = call(user, "todos.update_todo", todo.id, status=200, body=change)
    assert (typed.title, typed.description) == ("Updated", "Two of them")
    unset = models.TodoCreate(title="Null means false", is_completed=None)
    assert not call(user, "todos.create_todo", status=201, body=unset)[0].is_completed
    toggled, _ = call(user, "todos.toggle_todo", todo.id, status=200)
    assert toggled.is_completed
    assert toggled.updated_at > toggled.created_at

    # Errors.
    blank = models.TodoUpdate(title=" ")
    refused, _ = call(user, "todos.update_todo", todo.id, status=422, body=blank)
    assert [error.to_dict() for error in refused.errors] == [
        {"in": "body", "field": "title", "detail": "Must not be blank"}
    ]
    unidentified, headers = call(nobody, "todos.list_todos", status=401)
    assert (unidentified.title, headers["WWW-Authenticate"]) == ("Not identified", "X-User-Id")

    # Delete.
    call(user, "todos.delete_todo", todo.id, status=204)
    missing, _ = call(user, "todos.retrieve_todo", todo.id, status=404)
    assert missing.type_ == "urn:todo-api:problem:todo-not-found"

    # Probes.
    assert call(nobody, "probes.check_health", status=200)[0].to_dict() == {"status": "ok"}
    assert call(nobody, "probes.check_readiness", status=200)[0].to_dict() == {"status": "ready"}
