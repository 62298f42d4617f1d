"""A Python client of the API that sends requests again; docs/calling.md explains it.

Example:
    key = {"Idempotency-Key": str(uuid4())}
    created = send("POST", "/v1/todos", json={"title": "Buy milk"}, headers=key)
"""

import time
from typing import Any

import httpx

API = httpx.Client(base_url="http://127.0.0.1:8000", headers={"X-User-Id": "ada"}, timeout=35)


def send(method: str, path: str, *, once: bool = False, **request: Any) -> httpx.Response:
    """Send a request up to four times. `once`: it must not be executed twice."""
    for pause in (1, 2, 4):
        try:
            response = API.request(method, path, **request)
        except httpx.TransportError:  # no response: the outcome is unknown
            if once:
                raise
        else:
            status = response.status_code
            not_executed = status == 429 or (status == 503 and ":not-executed" in response.text)
            if not (not_executed or (status >= 500 and not once)):
                return response
        time.sleep(pause)
    return API.request(method, path, **request)
