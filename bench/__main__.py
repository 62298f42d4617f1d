"""Measure, print, and with `--write` keep: `python -m bench [--quick] [--write]`."""

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import parse_dsn

from bench import measure, report
from dev.postgres import Postgres, PostgresError
from migrations.__main__ import migrate


def _harden(uri: str) -> None:
    """Store the password as a server does by default. The embedded one stretches it once only, which is cheaper."""
    user, password = parse_dsn(uri)["user"], parse_dsn(uri)["password"]
    connection = psycopg2.connect(uri)
    with connection, connection.cursor() as cursor:
        cursor.execute("SET scram_iterations = 4096")
        cursor.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(user), sql.Literal(password)))
    connection.close()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, for a look: under a minute")
    parser.add_argument("--write", action="store_true", help="keep the numbers in docs/ and in the README")
    arguments = parser.parse_args()
    began = time.monotonic()

    def say(text: str) -> None:
        line = f"{time.monotonic() - began:4.0f} s  {text}"
        if sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr)

    try:
        with (
            TemporaryDirectory(prefix="todo-api-bench-") as folder,
            # Writing to the disk would be measured as well, and is no part of what is compared.
            Postgres(Path(folder), "fsync=off", "max_wal_size=4GB") as server,
        ):
            _harden(server.uri)
            migrate(server.uri)
            result = measure.run(server.uri, measure.QUICK if arguments.quick else measure.FULL, say)
    except PostgresError as error:
        sys.exit(str(error))
    say("done\n")
    print(*report.counts(result), "", sep="\n")
    for milliseconds in result["warm"]:
        print(*report.times(result, milliseconds), "", sep="\n")
    print(*report.others(result), "", sep="\n")
    for text, value, met in report.budgets(result):
        print(f"{'met   ' if met else 'MISSED'}  {text}: {value}")
    if not result["pooled"]:
        print("\nPgBouncer is not on this machine, so nothing went through it or TLS: apt-get install pgbouncer")
    if arguments.write:
        report.NUMBERS.write_text(json.dumps(result, indent=1) + "\n")
        report.chart(result, report.CHART)
        report.README.write_text(report.into(report.README.read_text(), report.readme(result)))


if __name__ == "__main__":
    main()
