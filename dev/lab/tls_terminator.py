"""A stand-in for Neon's proxy.

It ends TLS, whether asked for or started directly, in front of PostgreSQL.
"""

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import trustme
from psycopg2.extensions import parse_dsn

from dev.lab.proxy import TrafficCounter

HOST = "ep-test-a1b2c3d4-pooler.eu-central-1.aws.neon.tech"
TLS_RECORD = b"\x16"  # of a handshake (RFC 8446, section 5.1)


class TlsTerminator:
    """A running terminator.

    `direct_tls` says what it does with TLS that starts without a question.
    """

    def __init__(self, port: int, counter: TrafficCounter, ca: Path, database: str) -> None:
        self.port = port
        self.counter = counter
        self.ca = ca
        self.direct_tls: Literal["accept", "hang up", "hang"] = "accept"
        self._database = parse_dsn(database)

    def uri(self, sslmode: str = "verify-full", **options: str) -> str:
        """Return the database's URI through counter and terminator, under a host name of Neon's."""
        parts = self._database
        address = (
            f"{parts['user']}:{parts['password']}@{HOST}:{self.counter.port}/{parts['dbname']}"
        )
        query = {
            "hostaddr": "127.0.0.1",
            "sslmode": sslmode,
            "sslrootcert": str(self.ca),
            **options,
        }
        return f"postgresql://{address}?" + "&".join(
            f"{name}={value}" for name, value in query.items()
        )


@contextmanager
def tls_terminator(database: str) -> Iterator[TlsTerminator]:
    """Run a terminator in front of the server of `database`.

    It stands between traffic counters, which count statements too.
    """
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["postgresql"])
    authority.issue_cert(HOST, HOST.replace("-pooler", "")).configure_cert(context)
    with (
        TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0), backlog=100) as listener,
    ):
        ca = Path(folder) / "ca.pem"
        authority.cert_pem.write_to_path(str(ca))
        port = listener.getsockname()[1]
        behind = TrafficCounter(int(parse_dsn(database)["port"]))
        terminator = TlsTerminator(port, TrafficCounter(port, behind), ca, database)

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:  # closed
                    return
                arguments = (client, context, terminator, behind.port)
                threading.Thread(target=_serve, args=arguments, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield terminator
        listener.shutdown(socket.SHUT_RDWR)


def _serve(
    client: socket.socket, context: ssl.SSLContext, terminator: TlsTerminator, upstream: int
) -> None:
    with client, suppress(OSError):
        if client.recv(1, socket.MSG_PEEK) == TLS_RECORD:
            if terminator.direct_tls == "hang":
                client.settimeout(30)
                while client.recv(65536):
                    pass
            if terminator.direct_tls != "accept":
                return
        else:
            client.recv(8)  # SSLRequest
            client.sendall(b"S")
        with (
            context.wrap_socket(client, server_side=True) as encrypted,
            socket.create_connection(("127.0.0.1", upstream)) as server,
        ):
            encrypted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                for source in select.select([encrypted, server], [], [])[0]:
                    target = server if source is encrypted else encrypted
                    data = source.recv(65536)
                    if not data:
                        return
                    target.sendall(data)
