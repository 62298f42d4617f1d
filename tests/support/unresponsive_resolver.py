"""Send one request in a network namespace whose only name server never answers.

Run as `unshare --map-root-user --mount --net python -m tests.support.unresponsive_resolver FOLDER`.
"""

import json
import socket
import struct
import subprocess
import sys
import time
from fcntl import ioctl
from pathlib import Path

from tests.support.clients import Context, invoke_app
from tests.support.events import http_api_event
from todo_api.app import create_app
from todo_api.settings import Settings

SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # https://man7.org/linux/man-pages/man7/netdevice.7.html
FILES = {"resolv.conf": "nameserver 127.0.0.1\n", "nsswitch.conf": "hosts: files dns\n"}


def main(folder: Path) -> None:
    """Print as JSON the response, the seconds that it took, and whether the name server was asked."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
        subprocess.run(["mount", "--bind", folder / name, f"/etc/{name}"], check=True)  # noqa: S607  # in PATH
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as name_server:
        ioctl(name_server, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
        name_server.bind(("127.0.0.1", 53))
        app = create_app(Settings(neon_database_url="postgresql://a:b@database.example/c", database_timeout_seconds=1))
        began = time.monotonic()
        response = invoke_app(app, http_api_event("GET", "/v1/todos", {"X-User-Id": "x"}, None), Context())
        seconds = time.monotonic() - began
        name_server.settimeout(0)
        asked = b"\x08database\x07example" in name_server.recv(512)
    print(json.dumps({"status": response.status, "problem": response.json(), "seconds": seconds, "asked": asked}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
