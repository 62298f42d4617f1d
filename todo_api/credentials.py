"""The database's connection URI: from the environment, or from AWS Systems Manager's Parameter Store."""

from collections.abc import Callable

from todo_api.database import DatabaseUnavailable
from todo_api.settings import Settings, postgresql_uri

TIMEOUT_SECONDS = 1
"""How long each of two attempts to read the parameter may take to connect, and to answer."""

_TRANSIENT_ERRORS = (
    "ThrottlingException",
    "TooManyUpdates",
    "InternalServerError",
    "ServiceUnavailable",
    "RequestTimeout",
)


def uri_reader(settings: Settings) -> Callable[[], str]:
    """Return the function that reads the URI of the pooled endpoint. Nothing is read before it is called.

    The returned function raises `DatabaseUnavailable` when the parameter cannot be read or does not hold a URI.
    """
    uri = settings.neon_database_url
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
            parameter = client.get_parameter(Name=settings.neon_database_url_parameter, WithDecryption=True)
            return postgresql_uri(parameter["Parameter"]["Value"])
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
