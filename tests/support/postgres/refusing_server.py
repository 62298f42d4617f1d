"""A server that refuses every login with a given message, as PostgreSQL itself does.

Neon's proxy refuses otherwise: see dev/lab/neon_proxy.py.
"""

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

from dev.lab.protocol import error_response


@contextmanager
def refusing_server(message: str, sqlstate: str = "XX000") -> Iterator[SimpleNamespace]:
    """Run the server; yields its `uri` and the number of `connections` so far.

    https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-START-UP
    """
    seen = SimpleNamespace(connections=0, uri="")

    class Refuse(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            seen.connections += 1
            size, code = struct.unpack("!II", self.rfile.read(8))
            if code == 80_877_103:  # SSLRequest
                self.wfile.write(b"N")
                size, _ = struct.unpack("!II", self.rfile.read(8))
            self.rfile.read(size - 8)
            self.wfile.write(error_response("FATAL", sqlstate, message))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as server:
        seen.uri = f"postgresql://user:s3cr3t@127.0.0.1:{server.server_address[1]}/db"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield seen
        server.shutdown()
