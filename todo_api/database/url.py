"""The connection URL in the form that libpq reads, and what Neon's hosts need beside it."""

import re
from functools import cache

import psycopg2
from psycopg2.extensions import parse_dsn


def libpq_url(value: object) -> str:
    """Return the URL with the scheme that libpq reads.

    Neon's console and other tools write several.

    Raises:
        ValueError: it is not a PostgreSQL URL. The message does not repeat it.
    """
    scheme = r"\A(postgres|postgresql|postgresql\+psycopg2)://"
    url, replaced = re.subn(scheme, "postgresql://", str(value).strip())
    if not replaced:
        raise ValueError("must start with postgresql://, postgres:// or postgresql+psycopg2://")
    try:
        parts = parse_dsn(url)
    except psycopg2.ProgrammingError as error:
        raise ValueError(_what_libpq_cannot_read(url, str(error))) from None
    # What a password with "@" or "/" leaves behind.
    for name, odd in (("host", "@"), ("port", "[^0-9,]"), ("dbname", "[@/]")):
        if re.search(odd, parts.get(name, "")):
            raise ValueError("has a wrong host, port or database: percent-encode the password")
    if not parts.get("host") or not parts.get("dbname"):
        raise ValueError("must name a host and a database")
    return url


def _what_libpq_cannot_read(url: str, message: str) -> str:
    """Return libpq's message without anything that may be a part of the password."""
    parameter = re.search(r'invalid URI query parameter: "(\w+)"', message)
    # What stands before an "@" may be the password.
    if parameter and "@" not in url.partition("?")[2]:
        return f"has a parameter that libpq does not know: {parameter[1]}"
    if "percent-encoded" in message:
        return "has a % that is not percent-encoded: write %25 in the password"
    return "is not a URL that libpq can read"


@cache  # every attempt to connect asks for those of the same URL
def neon_options(url: str) -> dict[str, str]:
    """Return the options for a connection to Neon's proxy, without those that the URL has itself.

    `require_auth`: nobody in between gets the password by asking for it.
    `sslnegotiation`: TLS starts without asking the server first, which saves a round trip. Of other
    servers, PgBouncer before 1.25 hangs
    (https://www.postgresql.org/docs/17/libpq-connect.html#LIBPQ-CONNECT-SSLNEGOTIATION).
    """
    parts = parse_dsn(url)
    if not is_neon(parts["host"]):
        return {}
    options = {"require_auth": "scram-sha-256"}
    # libpq allows it with these only.
    if parts.get("sslmode") in ("require", "verify-ca", "verify-full"):
        options["sslnegotiation"] = "direct"
    return {name: value for name, value in options.items() if name not in parts}


def is_neon(host: str) -> bool:
    """Return whether this is one of Neon's hosts."""
    return host.endswith(".neon.tech")
