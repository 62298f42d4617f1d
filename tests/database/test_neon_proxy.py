"""The stand-in for Neon's proxy does what the proxy did when it was tried.

docs/operations.md says what was tried.
"""

import socket
import ssl
from contextlib import closing
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from dev.lab.neon_proxy import (
    DOMAIN,
    HOST,
    INCONSISTENT,
    INSECURE,
    NO_ENDPOINT,
    NeonProxy,
)
from dev.lab.sql import changed_database, run_sql
from tests.support.http.apps import app_on
from tests.support.http.assertions import assert_problem, database_failure

ENDPOINT = HOST.removesuffix(DOMAIN)


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
@pytest.mark.parametrize(
    "options",
    [
        {"channel_binding": "require"},
        {"channel_binding": "disable"},
        {"require_auth": "scram-sha-256"},
        {"options": f"endpoint={ENDPOINT}"},
    ],
    ids=str,
)
def test_it_takes_both_kinds_of_tls_and_of_scram(
    neon: NeonProxy, negotiation: str, options: dict[str, str]
) -> None:
    url = neon.uri(sslnegotiation=negotiation, **options)
    assert run_sql(url, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("is_direct", [True, False])
@pytest.mark.parametrize(
    ("offered", "is_accepted"), [(["postgresql"], True), ([], True), (["h2"], False)]
)
def test_only_postgresqls_or_no_protocol_is_accepted(
    neon: NeonProxy, offered: list[str], *, is_accepted: bool, is_direct: bool
) -> None:
    context = ssl.create_default_context(cafile=str(neon.ca))
    context.set_alpn_protocols(offered)
    with socket.create_connection(("127.0.0.1", neon.counter.port)) as client:
        if not is_direct:
            client.sendall(bytes.fromhex("00000008 04d2162f"))
            assert client.recv(1) == b"S"
        if is_accepted:
            with context.wrap_socket(client, server_hostname=HOST) as encrypted:
                assert encrypted.version() == "TLSv1.3"
        else:
            with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
                context.wrap_socket(client, server_hostname=HOST)


def test_a_role_may_be_any_and_its_password_has_to_be_right(neon: NeonProxy) -> None:
    parts = parse_dsn(neon.uri())
    run_sql(neon.uri(), "CREATE ROLE \"it's\" LOGIN PASSWORD 'right'")
    try:
        right: dict[str, Any] = {"user": "it's", "password": "right"}
        with closing(psycopg2.connect(neon.uri(), **right)) as connection:
            assert connection.info.user == "it's"
        for wrong in ({"password": "wrong"}, {"user": "nobody"}, {**right, "password": "Right"}):
            user = wrong.get("user", parts["user"])
            expected = f"ERROR:  password authentication failed for user '{user}'\n"
            assert failure(neon.uri(), **wrong).endswith(expected)
    finally:
        run_sql(neon.uri(), 'DROP ROLE "it\'s"')


def failure(url: str, **options: Any) -> str:
    """Return the message with which a connection fails."""
    with pytest.raises(psycopg2.OperationalError) as caught:
        psycopg2.connect(url, **options)
    return str(caught.value)


def test_what_the_server_behind_it_says_is_an_error_of_the_proxy(neon: NeonProxy) -> None:
    expected = 'ERROR:  database "other" does not exist\n'
    assert failure(neon.uri(), dbname="other").endswith(expected)


def test_it_hands_on_few_parameters_and_reads_the_text_as_utf8(
    neon: NeonProxy, migrated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")  # libpq sends it as the parameter `timezone`
    url = neon.uri(
        application_name="ours",
        client_encoding="LATIN1",
        options=f"endpoint={ENDPOINT} -cstatement_timeout=5s",
    )
    settings = ("application_name", "client_encoding", "statement_timeout", "timezone")
    query = ", ".join(f"current_setting('{name}')" for name in settings)
    change = f"ALTER DATABASE {parse_dsn(migrated)['dbname']}"
    with changed_database(
        migrated, f"{change} SET client_encoding = LATIN2", f"{change} RESET client_encoding"
    ):
        assert run_sql(url, f"SELECT {query}") == [("ours", "UTF8", "5s", "Asia/Kathmandu")]


def test_it_asks_for_a_cleartext_password_only_of_a_client_that_names_no_endpoint(
    neon: NeonProxy,
) -> None:
    neon.passwords.clear()
    by_address = neon.uri("require").replace(HOST, "127.0.0.1")
    assert failure(by_address).endswith(f"ERROR:  {NO_ENDPOINT}\n")
    password = parse_dsn(by_address)["password"]
    assert neon.passwords == [password.encode()]
    neon.passwords.clear()

    for separator in ";$":
        named = f"endpoint={ENDPOINT}{separator}{password}"
        psycopg2.connect(by_address, password=named).close()
        assert neon.passwords.pop() == named.encode()
    assert "password authentication failed" in failure(by_address, password="endpoint=ep;wrong")  # noqa: S106
    neon.passwords.clear()

    by_option = f"{by_address}&options=endpoint%3D{quote(ENDPOINT)}"
    assert run_sql(by_option, "SELECT 1") == [(1,)]
    assert run_sql(neon.uri(), "SELECT 1") == [(1,)]
    assert neon.passwords == []


@pytest.mark.parametrize(
    ("host", "sslmode", "query", "reason"),
    [
        ("127.0.0.1", "require", "", NO_ENDPOINT),
        (HOST, "disable", "", INSECURE),
        (HOST, "require", "&options=endpoint%3Dep-b", INCONSISTENT.format(ENDPOINT, "ep-b")),
    ],
)
def test_a_url_that_the_proxy_does_not_take_is_misconfigured(
    neon: NeonProxy,
    caplog: pytest.LogCaptureFixture,
    host: str,
    sslmode: str,
    query: str,
    reason: str,
) -> None:
    url = neon.uri(sslmode).replace(HOST, host) + query
    call = app_on(url)
    with neon.counter.watch() as traffic:
        assert_problem(call("GET", "/v1/todos", user="x"), 503)
    assert traffic.connections == 1
    assert database_failure(caplog) == ("database misconfigured", "connect", f"ERROR:  {reason}")
