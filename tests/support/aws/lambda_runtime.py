"""Run AWS's own runtime client in a process, with a fake Runtime API.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from subprocess import Popen
from typing import Any
from uuid import uuid4

from tests.support.http.clients import Response
from tests.support.http.http_server import serving

PREFIX = "/2018-06-01/runtime/"
TIMEOUT_SECONDS = 60


class Failed(Exception):
    """The runtime client reported an error instead of a response.

    Its arguments are the path that the client called, and the body of the call.
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
        parameter: the value of every parameter of the fake Parameter Store, on the same port.
    """

    def __init__(self, log: Path) -> None:
        self.calls: list[str] = []
        self.last_request_id = ""
        self.parameter = ""
        self._log = log
        self._events: Queue[tuple[str, bytes]] = Queue()
        self._reports: Queue[tuple[str, dict[str, Any]]] = Queue()

    @contextmanager
    def running(
        self, command: list[str], task: Path, environment: Mapping[str, str]
    ) -> Iterator["Function"]:
        """Run the runtime client in `task`, without this machine's environment.

        Raises:
            Failed: the start failed.
        """
        with self._log.open("wb") as log, serving(self._respond) as url:
            address = {
                "AWS_LAMBDA_RUNTIME_API": url.removeprefix("http://"),
                "AWS_ENDPOINT_URL_SSM": url,
            }
            process = Popen(
                command, cwd=task, env={**address, **environment}, stdout=log, stderr=log
            )
            try:
                self._wait_for_the_start(process)
                yield self
            finally:
                process.kill()
                process.wait()
                self._events.put(("", b""))  # ends the thread that waits for an event

    def _wait_for_the_start(self, process: Popen[bytes]) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while "invocation/next" not in self.calls:
            ended = process.poll() is not None
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
        self.last_request_id = str(uuid4())
        self._events.put((self.last_request_id, json.dumps(event).encode()))
        try:
            path, report = self._reports.get(timeout=TIMEOUT_SECONDS)
        except Empty:
            raise AssertionError(self.log()) from None
        if not path.endswith("/response"):
            raise Failed(path, report)
        return report

    def log(self) -> str:
        """Return the function's log so far."""
        return self._log.read_text()

    def _respond(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        """Respond to `invocation/next` when there is an event, and to everything else at once."""
        path = headers.get("X-Amz-Target") or path.removeprefix(PREFIX)
        self.calls.append(path)
        if path == "AmazonSSM.GetParameter":
            parameter = {
                "Name": json.loads(body)["Name"],
                "Type": "SecureString",
                "Value": self.parameter,
            }
            return Response(200, {}, json.dumps({"Parameter": parameter}).encode())
        if method == "POST":
            self._reports.put((path, json.loads(body)))
            return Response(202, {}, b"{}")
        if path != "invocation/next":
            return Response(200, {}, b"{}")
        request_id, event = self._events.get()
        arn = "arn:aws:lambda:eu-central-1:123456789012:function:todo-api"
        fields = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": request_id,
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 20_000),
            "Lambda-Runtime-Invoked-Function-Arn": arn,
            # The client crashes without it.
            "Lambda-Runtime-Trace-Id": "Root=1-67400000-0123456789abcdef01234567",
        }
        return Response(200, fields, event)
