"""Run a function as an HTTP server in a thread."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.support.http.clients import Response

Respond = Callable[[str, str, dict[str, str], bytes], Response]
"""A function that gets method, path, headers (in title case, without `Host`) and body."""


@contextmanager
def serving(respond: Respond, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Serve the responses of `respond` on a free port, and yield the URL.

    It begins with https if `tls` is given.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Otherwise a response's body waits 40 ms for the ACK of its header.
        disable_nagle_algorithm = True

        def handle(self) -> None:
            with suppress(ConnectionError):  # the client was killed
                super().handle()

        def handle_one_request(self) -> None:
            """Handle a request of any method; the superclass looks for `do_GET` and so on."""
            self.raw_requestline = self.rfile.readline(65537)
            if not self.raw_requestline:
                self.close_connection = True
                return
            if not self.parse_request():
                return
            headers = {
                name.title(): value
                for name, value in self.headers.items()
                if name.lower() != "host"
            }
            body = self.rfile.read(int(headers.get("Content-Length", 0)))
            # `self.path` has only one of several slashes at the beginning.
            path = self.requestline.split()[1]
            response = respond(self.command, path, headers, body)
            self.send_response(response.status)
            for name, value in response.headers.items():
                if name != "content-length" or self.command == "HEAD":
                    self.send_header(name, value)
            if response.status not in (204, 304) and self.command != "HEAD":
                self.send_header("content-length", str(len(response.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)

        def log_message(self, *_: object) -> None:
            """Do not log requests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
