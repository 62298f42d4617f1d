"""The local server: the API on loopback.

It has a PostgreSQL of its own unless `NEON_DATABASE_URL` is set.
"""

import argparse
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio.to_thread
import uvicorn
from dotenv import dotenv_values  # a dependency of pydantic-settings
from uvicorn.supervisors.basereload import BaseReload

from dev import ROOT
from dev.log import LineFormatter
from dev.postgres import Postgres, PostgresError
from todo_api.settings import Settings, SettingsError, drop_libpq_variables

if TYPE_CHECKING:
    from fastapi import FastAPI

HOST = "127.0.0.1"
WATCHED = (ROOT / "todo_api", ROOT / "migrations")
SCHEMA = (ROOT / "todo_api" / "models", ROOT / "todo_api" / "database", ROOT / "migrations")
"""Where the schema and the isolation between users are described."""

BANNER = """
  The API is at   http://{address}
  Its docs are at http://{address}/docs
  Its rows are in {rows}

  Create a todo:

    curl -i http://{address}/v1/todos -H 'X-User-Id: alice' \\
      -H 'Content-Type: application/json' -d '{{"title": "Buy milk"}}'

  Ctrl-C stops it; the rows stay.
"""


def application() -> "FastAPI":
    """Build the application, in a process that ends with the reloader, even if that is killed."""
    # Imported here: the reloader process does not need them.
    from starlette.middleware import Middleware

    from dev.concurrency import REQUESTS_AT_ONCE, ConcurrencyLimit
    from dev.hosts import LocalHosts
    from todo_api.app import create_app

    threading.Thread(target=_end_with_reloader, daemon=True).start()
    # A thread for each of them: a request waits for the database in one.
    anyio.to_thread.current_default_thread_limiter().total_tokens = REQUESTS_AT_ONCE
    app = create_app()
    # Last: inside of the others.
    app.user_middleware += [Middleware(LocalHosts), Middleware(ConcurrencyLimit)]
    return app


def _end_with_reloader() -> None:
    reloader = multiprocessing.parent_process()
    if reloader is not None:
        reloader.join()
        os._exit(1)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=_port, default=8000)
    parser.add_argument(
        "--data",
        type=Path,
        default=ROOT / ".postgres",
        help="where the embedded PostgreSQL's rows are",
    )
    parser.add_argument(
        "--env-file", type=Path, help="settings, for the variables that the environment lacks"
    )
    arguments = parser.parse_args()
    if arguments.env_file:
        _set_missing(dotenv_values(arguments.env_file))
    drop_libpq_variables()
    try:
        with ExitStack() as stack:
            _refuse_port_in_use(arguments.port)
            rows = "the database that the environment names"
            migrate: Callable[[], None] | None = None
            if os.environ.get("NEON_DATABASE_URL_PARAMETER"):
                raise SettingsError(
                    "The local server does not read NEON_DATABASE_URL_PARAMETER: set "
                    "NEON_DATABASE_URL, or neither for a PostgreSQL of its own."
                )
            if not os.environ.get("NEON_DATABASE_URL"):
                rows = str(arguments.data)
                os.environ["NEON_DATABASE_URL"] = stack.enter_context(Postgres(arguments.data)).uri
                migrate = partial(_migrate, arguments.data)
                migrate()
            os.environ.setdefault("CORS_ORIGINS", "http://localhost:3000,http://localhost:5173")
            Settings.from_environment()
            print(BANNER.format(address=f"{HOST}:{arguments.port}", rows=rows), flush=True)
            _serve(arguments.port, migrate)
    except (PostgresError, SettingsError, PortInUse) as error:
        sys.exit(str(error))


def _port(text: str) -> int:
    """Parse the number of a port."""
    if text.isdecimal() and 1 <= int(text) <= 65_535:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 65535")


def _set_missing(variables: Mapping[str, str | None]) -> None:
    """Set the variables of the settings that the environment lacks, and no others.

    The same file may hold variables of other programs.
    """
    for name in map(str.upper, Settings.model_fields):
        value = variables.get(name)
        if value is not None:
            os.environ.setdefault(name, value)


class PortInUse(Exception):
    """Another program listens on the port."""


def _refuse_port_in_use(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise PortInUse(
                f"Port {port} is in use: stop what uses it, or choose another: make run PORT=8001"
            ) from None


def _migrate(data: Path) -> None:
    """Migrate, in a process that imports the models and the revisions as they are now."""
    outcome = subprocess.run([sys.executable, "-m", "migrations"], cwd=ROOT, check=False)
    if outcome.returncode:
        print(
            "This server runs on, and migrates again when a model or a revision changes. If the "
            "models have what no revision makes yet, run `make revision NAME=…` and no SQL by "
            "hand. If the database has revisions of another branch, stop this server and start it "
            f"again after `rm -r {data}`, which deletes all rows.",
            file=sys.stderr,
        )


class Reloader(BaseReload):
    """Restarts the server, after a migration where needed, when a file is new, changed or gone."""

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: list[socket.socket],
        migrate: Callable[[], None] | None,
    ) -> None:
        super().__init__(config, uvicorn.Server(config).run, sockets)
        self.reloader_name = "dev.serve"
        self._migrate = migrate
        self._changed: list[Path] = []
        self._times = _modification_times()

    def should_restart(self) -> list[Path] | None:
        """Return the files that differ from those of the last call."""
        self.pause()
        times = _modification_times()
        self._changed = sorted({path for path, _ in times.items() ^ self._times.items()})
        self._times = times
        return self._changed

    def restart(self) -> None:
        """Start a new process. The old one serves until the migration has ended."""
        concerns_schema = any(
            path.is_relative_to(folder) for path in self._changed for folder in SCHEMA
        )
        if self._migrate and concerns_schema:
            self._migrate()
        super().restart()


def _modification_times() -> dict[Path, float]:
    times: dict[Path, float] = {}
    for folder in WATCHED:
        for path in folder.rglob("*.py"):
            with suppress(FileNotFoundError):  # deleted just now
                times[path] = path.stat().st_mtime
    return times


def _serve(port: int, migrate: Callable[[], None] | None) -> None:
    config = uvicorn.Config(
        "dev.serve:application",
        factory=True,
        host=HOST,
        port=port,
        server_header=False,
        access_log=False,  # the application logs each request itself
        log_config={
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": LineFormatter, "format": "%(levelname)s %(message)s"}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "loggers": {
                name: {"handlers": ["stderr"], "level": "INFO"} for name in ("uvicorn", "todo_api")
            },
        },
    )
    listener = config.bind_socket()
    # Connections inherit it. Without it, Nagle's algorithm delays each answer on a kept connection
    # by 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(KeyboardInterrupt):
        Reloader(config, [listener], migrate).run()


if __name__ == "__main__":
    main()
