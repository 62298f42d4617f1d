"""A small HTTP API on loopback: each request becomes an event of API Gateway, and goes to the Lambda handler.

It is a process of its own, `python -m tests.support.gateway --port PORT`. It answers one request at a time in the main
thread, as an instance of the function does. A bearer token from `token_of` gives the event the claims of a JWT
authorizer. Any other token gives it none: API Gateway itself would refuse it, and here the handler has to.
"""

import re
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

from tests.support.clients import invoke
from tests.support.events import http_api_event

_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110, section 5.5
_PREFIX = "token-of-"


def token_of(user: str) -> str:
    """A token that the authorizer takes."""
    return _PREFIX + user


class Gateway(BaseHTTPRequestHandler):
    """Passes requests on to the handler, whatever their method."""

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._pass_on
        raise AttributeError(name)

    def _pass_on(self) -> None:
        fields: dict[str, str] = {}
        for name, value in self.headers.items():
            name = name.lower()
            fields[name] = f"{fields[name]},{value}" if name in fields else value
        if not all(map(_FIELD_VALUE.fullmatch, fields.values())):
            self.send_error(400)
            return
        size = int(fields.get("content-length", 0))
        body = self.rfile.read(size) if size else None
        scheme, _, token = fields.get("authorization", "").partition(" ")
        authorizer = None
        if scheme == "Bearer" and token.startswith(_PREFIX):
            authorizer = {"jwt": {"claims": {"sub": token.removeprefix(_PREFIX)}, "scopes": None}}
        answer = invoke(http_api_event(self.command, self.path, fields, body, authorizer=authorizer))
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the application logs each request itself."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[2])), Gateway).serve_forever()
