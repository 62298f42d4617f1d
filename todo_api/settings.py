"""The settings, read from environment variables."""

import os
import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from todo_api.database.url import libpq_url

# Any scheme, for app shells and browser extensions, but those that no browser sends as an origin.
_ORIGIN = re.compile(
    r"(?!(about|blob|data|file|ftp|javascript|wss?):)[a-z][a-z0-9+.-]*://"
    r"([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?"
)
_DEFAULT_PORT = re.compile("http:.*:80|https:.*:443")


class SettingsError(Exception):
    """A variable is missing or invalid.

    The message names it and never repeats its value, which may be a password.
    """


def drop_libpq_variables() -> None:
    """Remove PGSSLMODE, PGOPTIONS and the like: only the connection URL says how to connect.

    Neon's snippets set some of them, and libpq would take them for what the URL leaves out
    (https://www.postgresql.org/docs/current/libpq-envars.html).
    """
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]


def _origins(value: object) -> tuple[str, ...]:
    """Split a comma-separated list of origins, as browsers send them (RFC 6454, section 6.2)."""
    origins = [origin.strip() for origin in str(value).split(",")]
    origins = [origin for origin in origins if origin]
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError("must list origins such as https://app.example, separated by commas")
        if _DEFAULT_PORT.fullmatch(origin):
            raise ValueError("must leave out :443 of https and :80 of http, as browsers do")
    return tuple(origins)


class Settings(BaseSettings):
    """Each field is the environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(
        frozen=True,
        validate_default=False,  # the defaults have their types
        env_ignore_empty=True,
        hide_input_in_errors=True,  # it may be a password
    )

    neon_database_url: Annotated[
        str | None,
        BeforeValidator(libpq_url),
        Field(repr=False),
    ] = None
    """The connection URL of Neon's pooled endpoint. A secret."""

    neon_database_url_parameter: str | None = None
    """Instead of the URL, the name of a parameter that holds it in AWS's Parameter Store."""

    identity_source: Literal["header", "authorizer"] = "header"
    """Where the caller's user id comes from: the header `X-User-Id` or API Gateway's authorizer."""

    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = ()
    """The browser origins that may call the API."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    database_timeout_seconds: Annotated[float, Field(ge=0.1, le=25)] = 8
    """The longest wait of one request for the database.

    At most 25, because API Gateway itself answers after 30 s.
    """

    @model_validator(mode="after")
    def _check_database(self) -> Self:
        has_url = self.neon_database_url is not None
        has_parameter = self.neon_database_url_parameter is not None
        if has_url and has_parameter:
            raise ValueError("NEON_DATABASE_URL and NEON_DATABASE_URL_PARAMETER are both set")
        if not has_url and not has_parameter:
            raise ValueError("NEON_DATABASE_URL is not set")
        return self

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment, and remove libpq's own variables from it.

        Raises:
            SettingsError: a variable is missing or invalid.
        """
        drop_libpq_variables()
        try:
            return cls()
        except ValidationError as invalid:
            error = invalid.errors()[0]
            variable = "".join(f" variable {str(name).upper()}" for name in error["loc"])
            reason = error["msg"].removeprefix("Value error, ")
            message = f"The environment{variable} is not usable: {reason}."
            raise SettingsError(message) from None
