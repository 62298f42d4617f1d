"""A small HTTP API on loopback.

It converts each request to an API Gateway event and calls the Lambda handler. Start it with
`python -m tests.support.aws.gateway --port PORT`. Like an instance of a Lambda function, it handles
one request at a time. A bearer token from `token_of` adds the claims of a JWT authorizer to the
event. API Gateway would reject any other token; this server adds no claims, so that the handler has
to reject the request.
"""

import re
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from dev.lab.events import http_api_event
from tests.support.http.clients import Response, invoke

_FIELD_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")  # RFC 9110, section 5.5
_PREFIX = "token-of-"


def token_of(user: str) -> str:
    """A token that the authorizer accepts."""
    return _PREFIX + user


class Gateway(BaseHTTPRequestHandler):
    """Forward requests with any method to the Lambda handler."""

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._forward
        raise AttributeError(name)

    def _forward(self) -> None:
        fields = {name.lower(): ",".join(self.headers.get_all(name, [])) for name in self.headers}
        if not all(map(_FIELD_VALUE.fullmatch, fields.values())):
            self.send_error(400)
            return
        size = int(fields.get("content-length", 0))
        body = self.rfile.read(size) if size else None
        # `self.path` has only one of several slashes at the beginning.
        self.path = self.requestline.split()[1]
        verdict = self.authorize(fields)
        if isinstance(verdict, Response):
            response = verdict
        else:
            event = http_api_event(self.command, self.path, fields, body, authorizer=verdict)
            response = invoke(event)
        self.send_response_only(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.body)

    def authorize(self, fields: dict[str, str]) -> dict[str, Any] | Response | None:
        """Return what an authorizer leaves in the event, or a response of the gateway's own."""
        scheme, _, token = fields.get("authorization", "").partition(" ")
        if scheme == "Bearer" and token.startswith(_PREFIX):
            return {"jwt": {"claims": {"sub": token.removeprefix(_PREFIX)}, "scopes": None}}
        return None

    def log_message(self, *_: object) -> None:
        """Log nothing: the application logs each request."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[2])), Gateway).serve_forever()
