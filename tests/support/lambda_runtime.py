"""Run AWS's own runtime client in a process, with a fake Runtime API.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import queue
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

PREFIX = "/2018-06-01/runtime/"
TIMEOUT_SECONDS = 60


class Failed(Exception):
    """The runtime client reported an error instead of a response.

    Attributes:
        path: the path of the Runtime API that it called.
        report: the body of that call.
    """

    def __init__(self, path: str, report: dict[str, Any]) -> None:
        super().__init__(f"{path}: {report}")
        self.path = path
        self.report = report


class Function:
    """A running function and its fake Runtime API.

    Attributes:
        calls: the requested paths of the Runtime API, in order.
        last_request_id: Lambda's request ID of the last invocation.
        parameter: the value of every parameter of the fake AWS Systems Manager, which uses the same port.
    """

    def __init__(self, log: Path) -> None:
        self.calls: list[str] = []
        self.last_request_id = ""
        self.parameter = ""
        self._log = log
        self._numbers = count(1)
        self._events: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._reports: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_RuntimeApi,), {"function": self}))
        self.port: int = self._server.server_address[1]

    @contextmanager
    def running(self, command: list[str], task: Path, environment: Mapping[str, str]) -> Iterator["Function"]:
        """Run the runtime client in `task`, without this machine's environment."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        with self._log.open("wb") as log:
            address = f"127.0.0.1:{self.port}"
            process = subprocess.Popen(
                command,
                cwd=task,
                env={"AWS_LAMBDA_RUNTIME_API": address, "AWS_ENDPOINT_URL_SSM": f"http://{address}", **environment},
                stdout=log,
                stderr=log,
            )
        try:
            self._process = process
            self.ready()
            yield self
        finally:
            process.kill()
            process.wait()
            self._events.put(("", b""))  # ends the thread that waits for an event
            self._server.shutdown()
            self._server.server_close()

    def ready(self) -> None:
        """Wait until the function asks for an event.

        Raises:
            Failed: the start failed.
        """
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while "invocation/next" not in self.calls:
            ended = self._process.poll() is not None
            if not self._reports.empty():
                raise Failed(*self._reports.get())
            assert not ended, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.005)

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """Send the function an event and return its response.

        Raises:
            Failed: the handler raised.
        """
        self.last_request_id = f"8476a536-e9f4-11e8-9739-{next(self._numbers):012}"
        self._events.put((self.last_request_id, json.dumps(event).encode()))
        try:
            path, report = self._reports.get(timeout=TIMEOUT_SECONDS)
        except queue.Empty:
            raise AssertionError(self.log()) from None
        if not path.endswith("/response"):
            raise Failed(path, report)
        return report

    def log(self) -> str:
        """Return the function's log so far."""
        return self._log.read_text()

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the lines of the log, parsed as JSON."""
        return [json.loads(line) for line in self.log().splitlines()]


class _RuntimeApi(BaseHTTPRequestHandler):
    """The Runtime API of one function."""

    function: Function
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise a response's body waits 40 ms for the ACK of its header

    def handle(self) -> None:
        """Ignore the connection reset when the function is killed."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """Respond to `invocation/next` when there is an event, and to `restore/next` at once."""
        path = self.path.removeprefix(PREFIX)
        self.function.calls.append(path)
        if path != "invocation/next":
            self._respond(200)
            return
        request_id, event = self.function._events.get()
        if not request_id:
            self.close_connection = True
            return
        self._respond(
            200,
            event,
            {
                "Lambda-Runtime-Aws-Request-Id": request_id,
                "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 20_000),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:todo-api",
                "Lambda-Runtime-Trace-Id": "Root=1-67400000-0123456789abcdef01234567",  # the client crashes without it
            },
        )

    def do_POST(self) -> None:
        """Receive a response or an error, or respond to a Systems Manager request."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/":
            parameter = {"Name": body["Name"], "Type": "SecureString", "Value": self.function.parameter}
            self.function.calls.append(self.headers["X-Amz-Target"])
            self._respond(200, json.dumps({"Parameter": parameter}).encode())
            return
        path = self.path.removeprefix(PREFIX)
        self.function.calls.append(path)
        self.function._reports.put((path, body))
        self._respond(202)

    def _respond(self, status: int, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        fields = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Do not log requests."""
