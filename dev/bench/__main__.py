"""Measure and print the costs of a request: `python -m dev.bench [--quick]`.

With `--write`, put the result into docs/performance.md.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from psycopg2.extensions import parse_dsn

from deploy.build import PYTHON, interpreter
from dev import ROOT
from dev.bench import measure, report
from dev.lab.sql import run_sql
from dev.postgres import Postgres, PostgresError
from migrations.__main__ import migrate
from todo_api.settings import drop_libpq_variables


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: in about a minute")
    parser.add_argument(
        "--write", action="store_true", help="write the result into docs/performance.md"
    )
    arguments = parser.parse_args()
    python = _lambdas_python()
    if python and python != sys.executable:
        again = [python, "-m", "dev.bench", *sys.argv[1:]]
        sys.exit(subprocess.run(again, cwd=ROOT, check=False).returncode)
    drop_libpq_variables()
    try:
        with (
            TemporaryDirectory(prefix="todo-api-bench-") as folder,
            # Without fsync, because the disk is not what is compared.
            Postgres(Path(folder), "fsync=off", "max_wal_size=4GB") as server,
        ):
            # Hash the password 4,096 times, PostgreSQL's default: the embedded server does it once,
            # which is cheaper.
            password = parse_dsn(server.uri)["password"]
            hash_again = f"ALTER ROLE postgres PASSWORD '{password}'"
            run_sql(server.uri, "SET scram_iterations = 4096", hash_again)
            migrate(server.uri)
            sizes = measure.QUICK if arguments.quick else measure.FULL
            result = measure.run(server.uri, sizes, lambda text: print(text, file=sys.stderr))
    except PostgresError as error:
        sys.exit(str(error))
    section = report.markdown(result)
    print(section)
    if arguments.write:
        report.PAGE.write_text(report.replaced(report.PAGE.read_text(), section))


def _lambdas_python() -> str | None:
    """Return Lambda's Python with the locked packages, if this machine has one."""
    found = interpreter(PYTHON)
    if found in (None, sys.executable):
        return found
    folder = ROOT / ".venv/bench"
    uv = str(Path(sys.executable).with_name("uv"))
    python = str(folder / "bin/python")
    packages = ["--require-hashes", "-r", "dev/requirements-dev.txt"]
    commands = [
        [uv, "venv", "--quiet", "--allow-existing", "--python", str(found), str(folder)],
        [uv, "pip", "install", "--quiet", "--python", python, *packages],
    ]
    if any(subprocess.run(command, cwd=ROOT, check=False).returncode for command in commands):
        print("the packages cannot be installed for Lambda's Python, see above", file=sys.stderr)
        return None
    return python


if __name__ == "__main__":
    main()
