"""`make verify` passes on a stand-in for a deployed stage, and fails on a broken one.

It leaves nothing there.
"""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLCertVerificationError, SSLContext
from threading import Thread
from typing import Any

import pytest
import trustme

from dev import ROOT
from dev.ports import free_port
from tests.support.aws.authorizer import AUDIENCE, ISSUER, Provider, extract
from tests.support.http.clients import Response
from tests.support.http.http_server import serving
from tests.support.http.servers import start_server
from tests.support.http.stage import NAMES, ORIGINS, Stage
from tests.support.http.stage_proxy import FAULTS, stage_proxy, unsigned_jwt_of
from tests.support.http.users import User
from todo_api.api.openapi import _SECURITY_SCHEMES as SECURITY_SCHEMES

RUN_EACH = """
import sys, pytest
for run in sys.argv[1:]:
    print("exit code", int(pytest.main(run.split())))
"""
"""Several runs of pytest in one process, which imports the application and the tests once."""

SMOKE = " ".join(
    str(path) for path in (ROOT / "tests").rglob("test_*.py") if "mark.smoke" in path.read_text()
)
"""The files of the tests of a quick run, because collecting all takes longer than running them."""

USERS = {unsigned_jwt_of(f"{name}@example"): f"{name}@example" for name in NAMES}
TOKENS = {f"{name.upper()}_TOKEN": token for name, token in zip(NAMES, USERS, strict=True)}
"""The variables that `make verify` reads for a stage with an authorizer."""


@pytest.fixture(scope="module")
def tls() -> SSLContext:
    """The server's side of TLS, for the stand-in.

    Its authority is in the environment of the tests.
    """
    return SSLContext(PROTOCOL_TLS_SERVER)


@pytest.fixture(scope="module")
def authority(tls: SSLContext, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The authority that issued the stand-in's certificate."""
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture
def run_each(authority: Path) -> Callable[..., list[tuple[int, str]]]:
    """Run pytest with each of several command lines, and return their exit codes and output."""

    def run(*command_lines: str, **environment: str) -> list[tuple[int, str]]:
        variables = {
            "SSL_CERT_FILE": str(authority),
            "CORS_ORIGINS": ",".join(ORIGINS),
            **environment,
        }
        command = [sys.executable, "-c", RUN_EACH, *(f"-r fEs {line}" for line in command_lines)]
        outcome = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        parts = re.split(r"^exit code (\d+)$", outcome.stdout, flags=re.M)
        return [(int(code), text) for text, code in zip(parts[::2], parts[1::2], strict=False)]

    return run


@pytest.mark.slow
def test_quick_run_passes_on_a_stage_and_finds_each_fault(
    local_port: int, tls: SSLContext, sql: Any, run_each: Callable[..., list[tuple[int, str]]]
) -> None:
    count = "SELECT count(*) FROM todos"
    before = sql(count)
    with ExitStack() as stack:
        urls = [stack.enter_context(stage_proxy(local_port, tls, fault)) for fault in ("", *FAULTS)]
        whole, *faulty = urls
        runs = run_each(
            f"--url {whole} --quick -x --setup-show",
            *(f"--url {url} --quick -x {SMOKE}" for url in faulty),
            f"--url {whole} --collect-only -q",
        )
    (code, output), *broken, (_, selection) = runs
    assert (code, " skipped" in output, " postgres" in output) == (0, False, False), output
    for fault, (code, output) in zip(FAULTS, broken, strict=True):
        assert (code, "FAILED" in output) == (1, True), (fault, output)
    assert selection.count("::") >= 200
    assert sql(count) == before


def test_with_tokens_each_user_is_that_of_a_token_and_only_created_todos_are_deleted(
    local_port: int, tls: SSLContext, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with ExitStack() as stack:
        url = stack.enter_context(stage_proxy(local_port, tls, users_by_token=USERS))
        stage, other = (stack.enter_context(closing(Stage(url, list(USERS)))) for _ in range(2))
        alice, bob = (User(stage.user_id(name), stage, []) for name in NAMES)
        assert [alice.id, bob.id] == list(USERS.values())
        kept = User(alice.id, other, []).create("of somebody else")
        assert alice.create("x")["user_id"] == alice.id
        bob.create("y")
        stage.delete_todos()
        assert stage.todos() == [kept]
        other.delete_todos()
        assert stage.todos() == []
        with pytest.raises(pytest.skip.Exception, match="needs the header mode"):
            stage("GET", "/v1/todos", user="carol")


@pytest.fixture(scope="module")
def authorized_stage(
    environment: dict[str, str], tls: SSLContext, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, dict[str, str]]]:
    """A stage with the example's authorizer: its URL, and the variables of `make verify`."""
    folder = tmp_path_factory.mktemp("authorizer")
    extract(folder)
    with ExitStack() as stack:
        provider = stack.enter_context(Provider("EdDSA").serving())
        settings = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "KEYS_URL": provider.url}
        mode = {"IDENTITY_SOURCE": "authorizer", "PYTHONPATH": str(folder)}
        port = free_port()
        server = start_server(
            port, environment | settings | mode, module="tests.support.aws.stage_gateway"
        )
        stack.callback(server.wait)
        stack.callback(server.terminate)
        end = int(time.time()) + 3600
        tokens = {
            f"{name.upper()}_TOKEN": provider.token("EdDSA", sub=f"{name}@example", exp=end)
            for name in NAMES
        }
        yield stack.enter_context(stage_proxy(port, tls)), tokens


@pytest.mark.slow
def test_quick_run_passes_with_tokens_that_the_examples_authorizer_verifies(
    authorized_stage: tuple[str, dict[str, str]], run_each: Callable[..., list[tuple[int, str]]]
) -> None:
    url, tokens = authorized_stage
    ((code, output),) = run_each(f"--url {url} --quick {SMOKE}", **tokens)
    assert (code, " passed" in output) == (0, True), output


def test_with_the_examples_authorizer_only_v1_needs_a_token(
    authorized_stage: tuple[str, dict[str, str]], authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    url, tokens = authorized_stage
    preflight = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    with closing(Stage(url)) as stage:
        for path in ("/v1/todos", "/health", "/docs"):
            response = stage("OPTIONS", path, headers=preflight)
            assert response.status == 200
            assert response.headers["access-control-allow-origin"] == "https://app.example"
        for path in ("/health", "/ready", "/docs", "/openapi.json"):
            assert stage("GET", path).status == 200
        assert stage("GET", "/openapi.json").json()["components"]["securitySchemes"] == {
            "Caller": SECURITY_SCHEMES["authorizer"]
        }
        for authorization, status in {
            "": 401,
            "Bearer x": 403,
            f"Bearer {tokens['ALICE_TOKEN']}x": 403,
            f"Bearer {tokens['ALICE_TOKEN']}": 200,
        }.items():
            headers = {"Authorization": authorization, "X-User-Id": "mallory"}
            assert stage("GET", "/v1/todos", headers=headers).status == status


@pytest.mark.soak
def test_complete_run_passes_with_tokens_that_the_examples_authorizer_verifies(
    authorized_stage: tuple[str, dict[str, str]], run_each: Callable[..., list[tuple[int, str]]]
) -> None:
    url, tokens = authorized_stage
    ((code, output),) = run_each(f"--url {url}", **tokens)
    assert code == 0, output


@pytest.mark.soak
@pytest.mark.parametrize("tokens", [{}, TOKENS], ids=["header mode", "authorizer"])
def test_complete_run_passes_on_a_stage(
    local_port: int,
    tls: SSLContext,
    run_each: Callable[..., list[tuple[int, str]]],
    tokens: dict[str, str],
) -> None:
    with stage_proxy(local_port, tls, users_by_token=USERS if tokens else None) as url:
        ((code, output),) = run_each(f"--url {url}", **tokens)
    assert code == 0, output


@pytest.mark.usefixtures("authority")  # which is unknown to this process
def test_certificate_of_an_unknown_authority_is_refused(local_port: int, tls: SSLContext) -> None:
    with (
        stage_proxy(local_port, tls) as url,
        closing(Stage(url)) as stage,
        pytest.raises(SSLCertVerificationError),
    ):
        stage("GET", "/health")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_stage_on_this_machine_may_be_plain_http(local_port: int, host: str) -> None:
    with closing(Stage(f"http://{host}:{local_port}")) as stage:
        assert stage("GET", "/health").status == 200


def test_challenge_that_the_gateway_renames_counts_as_the_challenge() -> None:
    def respond(*_: object) -> Response:
        return Response(401, {"x-amzn-remapped-www-authenticate": "X-User-Id"}, b"{}")

    with serving(respond) as url, closing(Stage(url)) as stage:
        response = stage("GET", "/v1/todos")

    assert response.headers["www-authenticate"] == "X-User-Id"


def test_response_that_never_ends_is_cut_after_the_deadline_of_a_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.support.http.stage.REQUEST_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        thread = Thread(target=drip, args=(server,))
        thread.start()

        with closing(Stage(address)) as stage, pytest.raises(TimeoutError, match="whole response"):
            stage("GET", "/health")

        thread.join()


def drip(server: socket.socket) -> None:
    """Answer one request with a byte every 0.1 s, until the client leaves."""
    connection, _ = server.accept()
    with connection, suppress(ConnectionError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            connection.sendall(b" ")
            time.sleep(0.1)


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example",
        "http://127.0.0.1.a.example",
        "http://localhost/dev",
        "a.example",
        "https://",
        "https://a.example/dev",
        "https://a?x",
    ],
)
def test_url_of_a_stage_is_https_and_a_host(url: str) -> None:
    with pytest.raises(ValueError, match="URL must be https"):
        Stage(url)


@pytest.mark.parametrize(
    "tokens", [["", "x"], ["a.b.c", "a.b.c"], [unsigned_jwt_of("one"), unsigned_jwt_of("one")]]
)
def test_tokens_are_those_of_two_users(tokens: list[str]) -> None:
    with pytest.raises(ValueError, match="ALICE_TOKEN and BOB_TOKEN must be"):
        Stage("https://a.example", tokens)
