"""A real PgBouncer, configured like Neon's pooled endpoint.

https://github.com/neondatabase/neon/blob/main/compute/etc/pgbouncer.ini
"""

import math
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

import psycopg2
import trustme
from psycopg2.extensions import parse_dsn
from psycopg2.extras import RealDictCursor

from dev.lab.proxy import TrafficCounter
from dev.lab.sql import run_sql
from dev.ports import free_port

BINARY = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/opt/homebrew/bin")


@dataclass
class TransactionCost:
    """What a transaction has cost during a `watch`, on average, in milliseconds."""

    held: float = 0
    """From its first message until its end, so if no client has waited: how long it held a server
    connection."""
    cpu: float = 0
    """CPU time of PgBouncer, for the client's connection too."""


@dataclass
class PgBouncer:
    """A running PgBouncer."""

    process: "subprocess.Popen[bytes]"
    port: int
    ca: Path
    database: str

    def uri(self, port: int | None = None, **options: str) -> str:
        """Return the database's URI through PgBouncer, or through a proxy on `port` before it."""
        parts = parse_dsn(self.database)
        query = urlencode({"sslmode": "verify-full", "sslrootcert": str(self.ca), **options})
        address = f"{parts['user']}:{parts['password']}@localhost:{port or self.port}"
        return f"postgresql://{address}/{parts['dbname']}?{query}"

    @contextmanager
    def watch(self) -> Iterator[TransactionCost]:
        """Measure the transactions inside the `with` block.

        Only Linux shows the CPU time of another process.
        """
        cost = TransactionCost()
        number, held, cpu = self._totals()
        yield cost
        new_number, new_held, new_cpu = self._totals()
        transactions = new_number - number
        cost.held = (new_held - held) / transactions
        cost.cpu = (new_cpu - cpu) / transactions

    def _totals(self) -> tuple[int, float, float]:
        """Return the number of transactions, their milliseconds, and those of CPU time."""
        with closing(psycopg2.connect(self.uri(), dbname="pgbouncer")) as connection:
            connection.autocommit = True
            with connection.cursor(cursor_factory=RealDictCursor) as cursor:
                cursor.execute("SHOW STATS")  # https://www.pgbouncer.org/usage.html#show-stats
                name = parse_dsn(self.database)["dbname"]
                # There is no row before the first client.
                rows = [row for row in cursor.fetchall() if row["database"] == name]
        number, microseconds = (
            sum(int(row[name]) for row in rows) for name in ("total_xact_count", "total_xact_time")
        )
        # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
        status = Path(f"/proc/{self.process.pid}/stat")
        ticks = sum(map(int, status.read_text().split()[13:15])) if status.exists() else math.nan
        return number, microseconds / 1000, ticks * 1000 / os.sysconf("SC_CLK_TCK")


@contextmanager
def pgbouncer(
    database: str, *, upstream: int | None = None, looks_up_users: bool = True, **settings: object
) -> Iterator[PgBouncer]:
    """Run PgBouncer in front of `database`.

    Neon runs 1.24. Debian 12 has 1.18, which differs:
    - Without `auth_dbname` it looks up users in the client's own database. So there is one here,
      and not any (`*`), because a login to one that does not exist would wait.
    - It refuses every startup parameter `options`.
    - Of a server that it cannot log in to it only says `server login has been failing, try again
      later (server_login_retry)`, where 1.24 adds the error and cuts all after 127 bytes.
    - It has no `max_prepared_statements`, which psycopg2 does not need.

    Args:
        database: the URI of the database, as a superuser.
        upstream: the port of a proxy in front of the database.
        looks_up_users: whether PgBouncer asks the database for each client's password, as on Neon,
            or knows that of the URI's user.
        settings: options of PgBouncer's configuration file.
    """
    assert BINARY, "PgBouncer is not installed"
    parts = parse_dsn(database)
    port = free_port()
    with (
        TemporaryDirectory(prefix="todo-api-pgbouncer-") as name,
        _user(database, port, looks_up_users=looks_up_users) as (user, secret),
    ):
        folder = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        certificate = authority.issue_cert("localhost").private_key_and_cert_chain_pem
        certificate.write_to_path(str(folder / "certificate.pem"))
        (folder / "users").write_text(f'"{user}" "{secret}"\n')
        options = {
            "listen_addr": "127.0.0.1",
            "listen_port": port,
            "unix_socket_dir": "",
            "pool_mode": "transaction",
            "default_pool_size": 2,  # on Neon 64 or more
            "max_client_conn": 10_000,
            "auth_type": "scram-sha-256",
            "auth_file": folder / "users",
            "auth_user": user,
            "auth_query": "SELECT usename, passwd FROM pg_shadow WHERE usename=$1",
            "ignore_startup_parameters": "extra_float_digits",
            "stats_users": parts["user"],
            # On Neon clients have TLS up to the proxy, and not here.
            "client_tls_sslmode": "allow",
            # Without it, the handshake would list all of the system's authorities.
            "client_tls_ca_file": folder / "ca.pem",
            "client_tls_key_file": folder / "certificate.pem",
            "client_tls_cert_file": folder / "certificate.pem",
            "server_check_query": "",
            "log_connections": 0,
            "log_disconnections": 0,
            **settings,
        }
        if os.geteuid() == 0:  # PgBouncer refuses to run as root
            folder.chmod(0o755)
            options["user"] = "nobody"
        lines = [f"{option} = {value}" for option, value in options.items()]
        target = f"host=127.0.0.1 port={upstream or parts['port']} application_name=pgbouncer"
        (folder / "pgbouncer.ini").write_text(
            "\n".join(["[databases]", f"{parts['dbname']} = {target}", "[pgbouncer]", *lines, ""])
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [BINARY, str(folder / "pgbouncer.ini")], stdout=log, stderr=log
            )
        try:
            _wait_until_it_listens(process, folder / "log")
            yield PgBouncer(process, port, folder / "ca.pem", database)
        finally:
            process.kill()
            process.wait()


@contextmanager
def _user(database: str, port: int, *, looks_up_users: bool) -> Iterator[tuple[str, str]]:
    """Yield the only user that PgBouncer knows by itself, and its password or SCRAM secret."""
    if not looks_up_users:
        query = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = current_user"
        ((user, secret),) = run_sql(database, query)
        yield user, secret
        return
    user = f"cloud_admin_{port}"
    password = secrets.token_hex(16)
    run_sql(database, f"CREATE ROLE {user} SUPERUSER LOGIN PASSWORD '{password}'")
    try:
        yield user, password
    finally:
        run_sql(database, f"DROP ROLE {user}")


@contextmanager
def counted_path(database: str, *, pooled: bool) -> Iterator[tuple[str, TrafficCounter]]:
    """Yield a URI of `database` through a traffic counter, and the counter.

    Args:
        database: the URI of the database.
        pooled: whether PgBouncer is between counter and database.
    """
    parts = parse_dsn(database)
    counter = TrafficCounter(int(parts["port"]))
    if pooled:
        with pgbouncer(database, upstream=counter.port) as pooler:
            front = TrafficCounter(pooler.port, behind=counter)
            yield pooler.uri(front.port), front
    else:
        yield (
            f"postgres://{parts['user']}:{parts['password']}@127.0.0.1:{counter.port}/{parts['dbname']}",
            counter,
        )


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 10
    while "process up" not in log.read_text():  # a connection would count for `max_client_conn`
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.025)
