"""Send one request in a network namespace whose only name server never answers.

tests/database/test_unreachable.py starts it in a user, mount and network namespace of its own.
"""

import json
import logging.handlers
import socket
import struct
import subprocess
import sys
import time
from fcntl import ioctl
from pathlib import Path

from dev.lab.events import http_api_event
from tests.support.http.clients import Context, invoke_app
from todo_api.app import create_app
from todo_api.settings import Settings

SIOCSIFFLAGS = 0x8914
IFF_UP = 1  # https://man7.org/linux/man-pages/man7/netdevice.7.html
FILES = {"resolv.conf": "nameserver 127.0.0.1\n", "nsswitch.conf": "hosts: files dns\n"}


def main(folder: Path, function_seconds: int) -> None:
    """Print as JSON the response, its seconds, and whether the name server was asked."""

    class FunctionContext(Context):
        def get_remaining_time_in_millis(self) -> int:
            return function_seconds * 1000

    records = logging.handlers.MemoryHandler(1000)
    logging.getLogger("todo_api").addHandler(records)
    for name, text in FILES.items():
        (folder / name).write_text(text)
        # `mount` is in PATH.
        subprocess.run(["mount", "--bind", folder / name, f"/etc/{name}"], check=True)  # noqa: S607
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as name_server:
        ioctl(name_server, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
        name_server.bind(("127.0.0.1", 53))
        url = "postgresql://a:b@database.example/c"
        app = create_app(Settings(neon_database_url=url, database_timeout_seconds=25))
        event = http_api_event("GET", "/v1/todos", {"X-User-Id": "x"}, None)
        began = time.monotonic()
        response = invoke_app(app, event, FunctionContext())
        seconds = time.monotonic() - began
        name_server.settimeout(0)
        asked = b"\x08database\x07example" in name_server.recv(512)
    seen = {
        "status": response.status,
        "problem": response.json(),
        "reason": vars(records.buffer[0])["reason"],
        "seconds": seconds,
        "asked": asked,
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
