"""The environment, read and checked in one place.

A missing or malformed value raises `SettingsError`: one sentence that names the variable and never repeats its value,
because the value may be a password.
"""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from todo_api.database.url import postgresql_uri


class SettingsError(Exception):
    """The environment does not describe a service that can start."""


def _origins(value: object) -> tuple[str, ...]:
    """Browser origins (RFC 6454, section 6.2) from a comma-separated list."""
    origins = tuple(origin.strip() for origin in str(value).split(",") if origin.strip())
    for origin in origins:
        try:
            parts = urlsplit(origin)
            exact = f"{parts.scheme}://{parts.netloc}" == origin and parts.port != 0
        except ValueError:
            exact = False
        if not exact or parts.scheme not in ("http", "https") or "@" in origin or "*" in origin:
            raise ValueError("must list origins such as https://app.example, separated by commas")
    return origins


class Settings(BaseSettings):
    """What the environment decides; each field is the variable of the same name in capitals."""

    model_config = SettingsConfigDict(frozen=True, validate_default=False, env_ignore_empty=True)

    neon_database_url: Annotated[str | None, BeforeValidator(postgresql_uri), Field(repr=False)] = None
    """The pooled endpoint of the Neon database, as libpq reads it. A secret."""

    neon_database_url_parameter: Annotated[str | None, Field(min_length=1)] = None
    """The name of a parameter in AWS Systems Manager's Parameter Store that holds the URL instead."""

    identity_source: Literal["header", "authorizer"] = "header"
    """Where the caller's user id comes from: the `X-User-Id` header, or API Gateway's authorizer."""

    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = ()
    """The browser origins that may call the API; none by default."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    database_timeout_seconds: Annotated[float, Field(ge=0.1, le=25)] = 8
    """How long one request may wait for the database, connecting included. API Gateway answers for us after 30 s, so
    the most is 25."""

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read the environment.

        Raises:
            SettingsError: a variable is missing or malformed.
        """
        try:
            settings = cls()
        except ValidationError as invalid:
            error = invalid.errors(include_url=False, include_input=False)[0]
            name, reason = str(error["loc"][0]), error["msg"].removeprefix("Value error, ")
        else:
            if (settings.neon_database_url is None) is not (settings.neon_database_url_parameter is None):
                return settings
            name = "neon_database_url"
            reason = (
                "is not set" if settings.neon_database_url is None else "is set together with the name of a parameter"
            )
        raise SettingsError(f"The environment variable {name.upper()} is not usable: {reason}.")
