"""The network in a process of its own: a proxy that adds a round-trip time and counts, and PgBouncer behind it.

`python -m bench.proxy DATABASE_URI` prints a `Path`. Each line of standard input is then a round-trip time in seconds;
the answer is an empty line, and after one more line of input, what passed in between (a `Traffic`).
"""

import json
import sys
from dataclasses import asdict
from typing import TypedDict

from tests.pgbouncer import BINARY, counted_path

POOL_SIZE = 10


class Path(TypedDict):
    """The way to the database."""

    uri: str
    """Through the proxy."""

    direct: str
    """Past the proxy."""

    pooled: bool
    """Whether PgBouncer, with TLS, is on the way."""


def main() -> None:
    """Count until standard input ends."""
    pooled = BINARY is not None
    with counted_path(sys.argv[1], pooled=pooled, default_pool_size=POOL_SIZE) as (uri, wire):
        direct = uri.replace(f":{wire.port}/", f":{wire.upstream}/")
        print(json.dumps(Path(uri=uri, direct=direct, pooled=pooled)), flush=True)
        for line in sys.stdin:
            with wire.watch(delay=float(line)) as traffic:
                print(flush=True)
                sys.stdin.readline()
                print(json.dumps(asdict(traffic)), flush=True)


if __name__ == "__main__":
    main()
