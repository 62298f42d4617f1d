"""The database's connection URI: from the environment or AWS's Parameter Store, as libpq and migrations need it."""

import re
from collections.abc import Callable

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from todo_api.database.errors import DatabaseUnavailable

TIMEOUT_SECONDS = 1
"""How long each of two attempts to read the parameter may take to connect, and to answer."""

_TRANSIENT_ERRORS = (
    "ThrottlingException",
    "TooManyUpdates",
    "InternalServerError",
    "ServiceUnavailable",
    "RequestTimeout",
)


def postgresql_uri(value: object) -> str:
    """The URL as libpq reads it, its query string kept.

    Neon's console shows `postgresql://`, other tools write `postgres://` or SQLAlchemy's `postgresql+psycopg2://`: all
    three name the same driver here.

    Raises:
        ValueError: it is not such a URL. The message does not repeat it.
    """
    uri, schemes = re.subn(r"\A(postgres|postgresql|postgresql\+psycopg2)://", "postgresql://", str(value).strip())
    if not schemes:
        raise ValueError("must start with postgresql://, postgres:// or postgresql+psycopg2://")
    try:
        parts = parse_dsn(uri)
    except psycopg2.ProgrammingError:
        # libpq's own message repeats the URL.
        raise ValueError("is not a URL that libpq can read") from None
    if not parts.get("host") or not parts.get("dbname"):
        raise ValueError("must name a host and a database")
    return uri


def uri_reader(uri: str | None, parameter: str | None) -> Callable[[], str]:
    """Return the function that reads the URI of the pooled endpoint. Nothing is read before it is called.

    Args:
        uri: the URI itself, if the environment holds it.
        parameter: the name of the parameter that holds it instead.

    The returned function raises `DatabaseUnavailable` when the parameter cannot be read or does not hold a URI.
    """
    if uri is not None:
        return lambda: uri
    # Imported only where it is used: it takes a third of a second. boto3 is part of Lambda's runtime, not of the zip.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    config = Config(
        connect_timeout=TIMEOUT_SECONDS,
        read_timeout=TIMEOUT_SECONDS,
        retries={"total_max_attempts": 2, "mode": "standard"},
    )
    client = boto3.client("ssm", config=config)

    def read() -> str:
        try:
            # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
            answer = client.get_parameter(Name=parameter, WithDecryption=True)
            return postgresql_uri(answer["Parameter"]["Value"])
        except ClientError as error:
            reason = error.response["Error"]["Code"]
            raise _unavailable(reason, misconfigured=reason not in _TRANSIENT_ERRORS) from None
        except BotoCoreError as error:
            raise _unavailable(type(error).__name__, misconfigured=False) from None
        except ValueError:
            raise _unavailable("the parameter does not hold a PostgreSQL URL", misconfigured=True) from None

    return read


def _unavailable(reason: str, *, misconfigured: bool) -> DatabaseUnavailable:
    return DatabaseUnavailable(may_have_run=False, phase="credentials", reason=reason, misconfigured=misconfigured)


def direct_endpoint(uri: str) -> str:
    """The connection string of Neon's direct endpoint: the pooled one's host without `-pooler`.

    Migrations need a session of their own, which the pooler does not give
    (https://neon.com/docs/connect/connection-pooling).
    """
    parts = parse_dsn(uri)
    endpoint, dot, domain = parts["host"].partition(".")
    return str(make_dsn(**{**parts, "host": endpoint.removesuffix("-pooler") + dot + domain}))
