"""The connection URL: where it comes from, and its form for libpq.

It comes from the environment or from AWS's Parameter Store.
"""

import logging
import re
from collections.abc import Callable

import psycopg2
from psycopg2.extensions import parse_dsn

from todo_api.database.errors import DatabaseUnavailable

TIMEOUT_SECONDS = 1  # of each of two attempts to read the parameter, to connect and to answer
_TRANSIENT = ("ThrottlingException", "TooManyUpdates", "RequestTimeout")


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


def url_reader(url: str | None, parameter: str | None) -> Callable[[], str]:
    """Return a function that returns the URL.

    With a parameter, it reads the URL from Parameter Store each time that it is called. The
    returned function raises `DatabaseUnavailable` if the parameter cannot be read or does not hold
    a URL.

    Args:
        url: the URL, if the environment holds it.
        parameter: the name of the parameter that holds it otherwise.
    """
    if url is not None:
        return lambda: url
    # Imported only if needed, because it takes 0.3 s. boto3 is part of Lambda's runtime and not of
    # the zip.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    config = Config(
        connect_timeout=TIMEOUT_SECONDS,
        read_timeout=TIMEOUT_SECONDS,
        retries={"total_max_attempts": 2, "mode": "standard"},
    )
    client = boto3.client("ssm", config=config)
    logging.getLogger("botocore").setLevel(logging.INFO)  # DEBUG would log the parameter's value

    def read() -> str:
        try:
            # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
            answer = client.get_parameter(Name=parameter, WithDecryption=True)
            value = answer["Parameter"]["Value"]
        except ClientError as error:
            reason = error.response["Error"]["Code"]
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            misconfigured = status < 500 and reason not in _TRANSIENT
            raise unavailable(reason, misconfigured=misconfigured) from None
        except Exception as error:  # noqa: BLE001
            # boto3 raises anything for a response that is not Parameter Store's.
            raise unavailable(type(error).__name__, misconfigured=False) from None
        try:
            return libpq_url(value)
        except ValueError as error:
            raise unavailable(f"the parameter's value {error}", misconfigured=True) from None

    return read


def unavailable(reason: str, *, misconfigured: bool) -> DatabaseUnavailable:
    """Return the failure to read the URL."""
    return DatabaseUnavailable(
        may_have_run=False,
        phase="credentials",
        reason=reason,
        misconfigured=misconfigured,
    )


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
