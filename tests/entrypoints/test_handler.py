"""The Lambda handler: no event ends in an exception."""

from collections.abc import Callable
from typing import Any

import pytest

from dev.lab.events import function_url_event, http_api_event, rest_api_event
from tests.support.http.clients import invoke

HOSTS = ["x:", "a:b:c", "[", "[::1", "", ":", "x:443,80", "\u00fc"]
PORTS = ["443,80", "abc", "", "-1", "4" * 5_000]
STATUSES = {"/health": 200, "/docs": 200, "/openapi.json": 200, "/nowhere": 404}


@pytest.mark.parametrize("make_event", [http_api_event, rest_api_event, function_url_event])
@pytest.mark.usefixtures("lambda_api")
def test_no_host_port_or_protocol_makes_an_event_fail(make_event: Callable[..., Any]) -> None:
    odd_headers = [
        *(("Host", host) for host in HOSTS),
        *(("X-Forwarded-Proto", host) for host in HOSTS),
    ]
    for name, value in [*odd_headers, *(("X-Forwarded-Port", port) for port in PORTS)]:
        statuses = {
            path: invoke(make_event("GET", path, {name: value}, None)).status for path in STATUSES
        }
        assert statuses == STATUSES, (name, value)
