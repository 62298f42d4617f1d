"""Applications in this process, with other databases or settings than the shared one."""

from typing import Any

from dev.lab.events import http_api_event
from tests.support.http.clients import Api, Context, Response, invoke_app
from todo_api.app import create_app
from todo_api.settings import Settings

URL_PARAMETER = "/todo-api/test/neon-database-url"
"""The name of a parameter that holds the database URL, in Parameter Store."""


def app_with(**settings: Any) -> Api:
    """Create the API in this process, with these settings."""
    app = create_app(Settings(**settings))

    def send(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Response:
        return invoke_app(app, http_api_event(method, path, headers, body), Context())

    return Api(send)


def app_on(uri: str, **settings: Any) -> Api:
    """Create the API in this process, with this database URL and these settings."""
    return app_with(neon_database_url=uri, **settings)


def ready_status(uri: str) -> int:
    """Return the status that `/ready` has with this database URL."""
    call = app_on(uri)
    return call("GET", "/ready").status
