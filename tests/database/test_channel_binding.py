"""Channel binding refuses a man in the middle.

It ties the password exchange to the server's certificate.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trustme
from alembic.util import CommandError

from deploy.login_check import verification_warning
from dev.lab.neon_proxy import HOST, NeonProxy
from dev.postgres import NOBODY, Postgres
from migrations.__main__ import migrate
from tests.support.http.apps import app_on
from tests.support.machine import SYSTEM_POSTGRES

NO_BINDING = (
    "channel binding is required, but server did not offer an authentication method "
    "that supports channel binding"
)
NO_SCRAM = 'authentication method requirement "scram-sha-256" failed: server requested a'
IN_BETWEEN = [
    ("SCRAM without channel binding", {"channel_binding": "require"}, NO_BINDING),
    ("cleartext", {"channel_binding": "require"}, f"{NO_SCRAM} cleartext password"),
    ("cleartext", {}, f"{NO_SCRAM} cleartext password"),
    ("MD5", {"channel_binding": "require"}, f"{NO_SCRAM} hashed password"),
    ("MD5", {}, f"{NO_SCRAM} hashed password"),
]
"""What somebody in between asks for, parameters of the URL, and what libpq says."""

WARNING = "The connection string does not verify the server: add channel_binding=require to it."


@pytest.fixture
def server_with_tls() -> Iterator[str]:
    """The URI of Debian's PostgreSQL with TLS, under a host name of Neon's.

    The wheel's PostgreSQL has no TLS.
    """
    with (
        TemporaryDirectory(prefix="todo-api-tests-") as folder,
        TemporaryDirectory(prefix="todo-api-tests-") as keys,
    ):
        certificate = Path(keys) / "certificate.pem"
        key = Path(keys) / "key.pem"
        issued = trustme.CA().issue_cert(HOST)
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        if os.geteuid() == 0:  # PostgreSQL then runs as nobody
            for path in (Path(keys), key):
                os.chown(path, NOBODY, NOBODY)
        options = ("fsync=off", "ssl=on", f"ssl_cert_file={certificate}", f"ssl_key_file={key}")
        with Postgres(Path(folder), *options, binaries=SYSTEM_POSTGRES) as server:
            yield (
                server.uri.replace("127.0.0.1", HOST)
                + "?hostaddr=127.0.0.1&sslmode=require&channel_binding=require"
            )


@pytest.fixture
def in_between(neon: NeonProxy) -> NeonProxy:
    """Somebody between us and the database, with a certificate of their own."""
    neon.passwords.clear()
    return neon


@pytest.mark.system_postgres
def test_migrations_and_requests_work_with_channel_binding(server_with_tls: str) -> None:
    migrate(server_with_tls)
    call = app_on(server_with_tls)
    assert call("GET", "/ready").status == 200
    assert call("POST", "/v1/todos", user="alice", json={"title": "x"}).status == 201
    page = call("GET", "/v1/todos", user="alice").json()
    assert [todo["title"] for todo in page["items"]] == ["x"]


@pytest.mark.parametrize(("asks_for", "parameters", "expected"), IN_BETWEEN)
def test_a_request_refuses_a_man_in_the_middle_at_once(
    in_between: NeonProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    asks_for: str,
    parameters: dict[str, str],
    expected: str,
) -> None:
    monkeypatch.setattr(in_between, "impostor", asks_for)
    url = in_between.uri("require", **parameters)
    call = app_on(url)
    with in_between.counter.watch() as traffic:
        assert call("GET", "/v1/todos", user="x").status == 503
    assert traffic.connections == 1
    (line,) = [line for line in caplog.records if line.getMessage() == "database misconfigured"]
    assert expected in line.__dict__["reason"]
    assert in_between.passwords == []


@pytest.mark.parametrize(("asks_for", "parameters", "expected"), IN_BETWEEN)
def test_a_migration_refuses_a_man_in_the_middle(
    in_between: NeonProxy,
    monkeypatch: pytest.MonkeyPatch,
    asks_for: str,
    parameters: dict[str, str],
    expected: str,
) -> None:
    monkeypatch.setattr(in_between, "impostor", asks_for)
    with pytest.raises(CommandError, match=expected):
        migrate(in_between.uri("require", **parameters))
    assert in_between.passwords == []


def test_the_url_may_ask_for_another_authentication(
    in_between: NeonProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_between, "impostor", "cleartext")
    url = in_between.uri("require", require_auth="password")
    call = app_on(url)
    assert call("GET", "/v1/todos", user="x").status == 200
    assert in_between.passwords != []


@pytest.mark.parametrize(
    ("host", "query", "expected"),
    [
        (HOST, "", True),
        (HOST, "sslmode=require", True),
        (HOST, "sslmode=verify-ca", True),
        (HOST, "sslmode=require&channel_binding=prefer", True),
        (HOST, "sslmode=require&channel_binding=require", False),
        (HOST, "sslmode=verify-full", False),
        ("localhost", "sslmode=require", False),
    ],
)
def test_the_deploy_warns_of_a_url_of_neon_that_does_not_verify_the_server(
    host: str, query: str, *, expected: bool
) -> None:
    url = f"postgresql://environment:s3cr3t@{host}/todo?{query}"
    assert verification_warning(url) == (WARNING if expected else "")
