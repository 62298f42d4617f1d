"""The connection URL: from the environment or AWS's Parameter Store, in libpq's form, and for migrations."""

import re
from collections.abc import Callable

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from todo_api.database.errors import DatabaseUnavailable

TIMEOUT_SECONDS = 1  # of each of two attempts to read the parameter, to connect and to answer
_TRANSIENT = ("ThrottlingException", "TooManyUpdates", "InternalServerError", "ServiceUnavailable", "RequestTimeout")


def libpq_url(value: object) -> str:
    """Return the URL with the scheme that libpq reads; Neon's console and other tools write several.

    Raises:
        ValueError: it is not a PostgreSQL URL. The message does not repeat it.
    """
    url, replaced = re.subn(r"\A(postgres|postgresql|postgresql\+psycopg2)://", "postgresql://", str(value).strip())
    if not replaced:
        raise ValueError("must start with postgresql://, postgres:// or postgresql+psycopg2://")
    try:
        parts = parse_dsn(url)
    except psycopg2.ProgrammingError:  # its message repeats the URL
        raise ValueError("is not a URL that libpq can read") from None
    if not parts.get("host") or not parts.get("dbname"):
        raise ValueError("must name a host and a database")
    return url


def url_reader(url: str | None, parameter: str | None) -> Callable[[], str]:
    """Return a function that returns the URL, or reads it from Parameter Store each time that it is called.

    The returned function raises `DatabaseUnavailable` if the parameter cannot be read or does not hold a URL.

    Args:
        url: the URL, if the environment holds it.
        parameter: the name of the parameter that holds it otherwise.
    """
    if url is not None:
        return lambda: url
    # Imported only if needed, because it takes 0.3 s. boto3 is part of Lambda's runtime and not of the zip.
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    retries = {"total_max_attempts": 2, "mode": "standard"}
    config = Config(connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, retries=retries)
    client = boto3.client("ssm", config=config)

    def read() -> str:
        try:
            # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
            answer = client.get_parameter(Name=parameter, WithDecryption=True)
            return libpq_url(answer["Parameter"]["Value"])
        except ClientError as error:
            reason = error.response["Error"]["Code"]
            raise _unavailable(reason, misconfigured=reason not in _TRANSIENT) from None
        except BotoCoreError as error:
            raise _unavailable(type(error).__name__, misconfigured=False) from None
        except ValueError:
            raise _unavailable("the parameter does not hold a PostgreSQL URL", misconfigured=True) from None

    return read


def _unavailable(reason: str, *, misconfigured: bool) -> DatabaseUnavailable:
    return DatabaseUnavailable(may_have_run=False, phase="credentials", reason=reason, misconfigured=misconfigured)


def direct_url(url: str) -> str:
    """Return the URL of Neon's direct endpoint: the pooled one's host without `-pooler`.

    Migrations need a session of their own, which the pooler does not give
    (https://neon.com/docs/connect/connection-pooling).
    """
    parts = parse_dsn(url)
    endpoint, dot, domain = parts["host"].partition(".")
    return str(make_dsn(**{**parts, "host": endpoint.removesuffix("-pooler") + dot + domain}))
