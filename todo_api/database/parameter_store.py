"""The connection URL: from the environment, or from AWS's Parameter Store."""

import logging
from collections.abc import Callable

from todo_api.database.errors import DatabaseUnavailable
from todo_api.database.url import libpq_url

# boto3's timeouts to connect and to read, of each of two attempts.
TIMEOUT_SECONDS = 1
_TRANSIENT = ("ThrottlingException", "TooManyUpdates", "RequestTimeout")


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
            raise credentials_unavailable(reason, misconfigured=misconfigured) from None
        except Exception as error:  # noqa: BLE001
            # boto3 raises anything for a response that is not Parameter Store's.
            raise credentials_unavailable(type(error).__name__, misconfigured=False) from None
        try:
            return libpq_url(value)
        except ValueError as error:
            raise credentials_unavailable(
                f"the parameter's value {error}", misconfigured=True
            ) from None

    return read


def credentials_unavailable(reason: str, *, misconfigured: bool) -> DatabaseUnavailable:
    """Return the failure to read the URL."""
    return DatabaseUnavailable(
        may_have_run=False,
        phase="credentials",
        reason=reason,
        misconfigured=misconfigured,
    )
