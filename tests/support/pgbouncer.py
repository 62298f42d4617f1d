"""A real PgBouncer, as Neon's pooled endpoint is one: transaction mode, TLS and SCRAM."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from urllib.parse import urlencode

import psycopg2
import trustme
from psycopg2.extensions import parse_dsn

from tests.support.proxy import TrafficCounter
from tests.support.servers import free_port

BINARY = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/opt/homebrew/bin")
NOBODY = 65534  # PgBouncer refuses to run as root


@dataclass
class PgBouncer:
    """A running PgBouncer."""

    port: int
    ca: Path
    database: str
    process: "subprocess.Popen[bytes]"

    def uri(self, port: int | None = None, **options: str) -> str:
        """How to reach the database through it, or through a proxy on `port` in front of it."""
        parts = parse_dsn(self.database)
        query = urlencode({"sslmode": "verify-full", "sslrootcert": str(self.ca), **options})
        address = f"{parts['user']}:{parts['password']}@localhost:{port or self.port}"
        return f"postgresql://{address}/{parts['dbname']}?{query}"


@contextmanager
def pgbouncer(database: str, *, upstream: int | None = None, **settings: object) -> Iterator[PgBouncer]:
    """Run PgBouncer in front of `database`, or of a proxy for it on the port `upstream`.

    Args:
        database: the URI of the database itself.
        upstream: the port to connect to instead of the database's own.
        settings: PgBouncer's, as in its configuration file.
    """
    assert BINARY, "PgBouncer is not installed"
    parts = parse_dsn(database)
    port = free_port()
    owner, credentials = -1, cast(dict[str, Any], {})
    if os.geteuid() == 0:
        owner, credentials = NOBODY, {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    with TemporaryDirectory(prefix="todo-api-pgbouncer-") as name:
        folder = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
        (folder / "certificate.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        (folder / "users").write_text(f'"{parts["user"]}" "{_scram_secret(database)}"\n')
        options = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "pool_mode": "transaction",
            "default_pool_size": 2,
            "max_client_conn": 1000,
            "auth_type": "scram-sha-256",
            "auth_file": folder / "users",
            "client_tls_sslmode": "require",
            "client_tls_ca_file": folder / "ca.pem",  # without it the handshake grows by the system's whole list
            "client_tls_key_file": folder / "key.pem",
            "client_tls_cert_file": folder / "certificate.pem",
            "server_login_retry": 1,
            "server_check_query": "",
            "log_connections": 0,
            "log_disconnections": 0,
            **settings,
        }
        lines = [f"{option} = {value}" for option, value in options.items()]
        target = f"host=127.0.0.1 port={upstream or parts['port']} dbname={parts['dbname']}"
        (folder / "pgbouncer.ini").write_text(
            "\n".join(["[databases]", f"{parts['dbname']} = {target}", "[pgbouncer]", *lines, ""])
        )
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner, owner)
        command = [BINARY, str(folder / "pgbouncer.ini")]
        log = (folder / "log").open("wb")
        process: subprocess.Popen[bytes] = subprocess.Popen(command, stdout=log, stderr=log, **credentials)
        try:
            _wait_until_it_listens(port, process, folder / "log")
            yield PgBouncer(port, folder / "ca.pem", database, process)
        finally:
            process.kill()
            process.wait()
            log.close()


@contextmanager
def counted_path(database: str, *, pooled: bool, **settings: object) -> Iterator[tuple[str, TrafficCounter]]:
    """The URI under which a client reaches `database`, and the counter that it passes.

    Args:
        database: the URI of the database itself.
        pooled: whether PgBouncer is on the way.
        settings: PgBouncer's.
    """
    parts = parse_dsn(database)
    wire = TrafficCounter(int(parts["port"]))
    if pooled:
        with pgbouncer(database, upstream=wire.port, **settings) as pooler:
            front = TrafficCounter(pooler.port, behind=wire)
            yield pooler.uri(front.port), front
    else:
        yield f"postgres://{parts['user']}:{parts['password']}@127.0.0.1:{wire.port}/{parts['dbname']}", wire


def _scram_secret(database: str) -> str:
    """What PostgreSQL keeps of the user's password: PgBouncer checks clients against it, and logs in with it."""
    connection = psycopg2.connect(database)
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolpassword FROM pg_authid WHERE rolname = current_user")
        (secret,) = cursor.fetchone() or ("",)
    connection.close()
    return str(secret)


def _wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(400):
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        assert process.poll() is None, log.read_text()
        time.sleep(0.025)
    raise TimeoutError(log.read_text())
