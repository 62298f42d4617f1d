"""The database's connection URI: from the environment, or from AWS Systems Manager's Parameter Store."""

from typing import Any

from todo_api.database import DatabaseUnavailable
from todo_api.settings import Settings, postgresql_uri

PATIENCE_SECONDS = 1
"""How long each of two attempts to read the parameter may take to connect, and to answer."""

_PASSING = ("ThrottlingException", "TooManyUpdates", "InternalServerError", "ServiceUnavailable", "RequestTimeout")


def connection_uri(settings: Settings) -> str:
    """The URI of the pooled endpoint, as it is now.

    Raises:
        DatabaseUnavailable: the parameter cannot be read, or does not hold a URI.
    """
    if settings.neon_database_url is not None:
        return settings.neon_database_url
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = parameter_store()
        # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html
        parameter = client.get_parameter(Name=settings.neon_database_url_parameter, WithDecryption=True)["Parameter"]
        return postgresql_uri(parameter["Value"])
    except ClientError as error:
        reason = error.response["Error"]["Code"]
        raise _unavailable(reason, misconfigured=reason not in _PASSING) from None
    except BotoCoreError as error:
        raise _unavailable(type(error).__name__, misconfigured=False) from None
    except ValueError:
        raise _unavailable("the parameter does not hold a PostgreSQL URL", misconfigured=True) from None


def parameter_store() -> Any:
    """A client of AWS Systems Manager, which has asked nothing yet."""
    # Only here: the import costs a third of a second, and boto3 is not part of the zip but of Lambda's runtime.
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=PATIENCE_SECONDS,
        read_timeout=PATIENCE_SECONDS,
        retries={"total_max_attempts": 2, "mode": "standard"},
    )
    return boto3.client("ssm", config=config)


def _unavailable(reason: str, *, misconfigured: bool) -> DatabaseUnavailable:
    return DatabaseUnavailable(may_have_run=False, phase="credentials", reason=reason, misconfigured=misconfigured)
