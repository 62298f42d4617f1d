"""The local server answers this machine's hosts only, so that DNS rebinding does not reach it."""

import socket

import pytest

from tests.support.http.assertions import assert_problem
from tests.support.http.clients import Api


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST:8000", "[::1]", "[::1]:65535", "127.0.0.1:1"]
)
def test_hosts_of_this_machine_are_answered(local_api: Api, host: str) -> None:
    assert local_api("GET", "/health", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:127.0.0.1",
        "127.0.0.2",
        "localhost@evil.example",
        "[::2]",
    ],
)
@pytest.mark.parametrize("path", ["/v1/todos", "/health", "/docs", "/nowhere"])
def test_any_other_host_is_misdirected(local_api: Api, path: str, host: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        response = local_api(method, path, user="owner", headers={"Host": host})
        problem = assert_problem(response, 421)
        assert problem["type"] == "urn:todo-api:problem:misdirected-request"
    head = local_api("HEAD", path, headers={"Host": host})
    assert (head.status, head.body) == (421, b"")


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_request_without_a_host_is_refused(local_port: int, version: str) -> None:
    with socket.create_connection(("127.0.0.1", local_port), timeout=20) as connection:
        connection.sendall(f"GET /health {version}\r\nConnection: close\r\n\r\n".encode())
        status = connection.recv(1_000).split()[1]
    assert status in (b"400", b"421")
