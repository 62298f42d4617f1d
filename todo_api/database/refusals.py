"""What libpq, PostgreSQL and poolers say when a connection fails.

psycopg2 has no SQLSTATE for these errors, only a text. A list of texts is never complete: a text
of a server that is not in one is UNKNOWN.
"""

import re
from enum import Enum

import psycopg2

# The login of the URL is not valid any more, so the URL may have been replaced.
_LOGIN_REFUSED = (
    "(password|SASL) authentication failed",
    "no such user",  # PgBouncer
    "role .*does not exist",
    "is not permitted to log in",
)
# A server has refused a login that has a right password.
_LOGIN_FORBIDDEN = (
    "database .*does not exist",
    "permission denied for database",
    "no pg_hba.conf entry",
    "unsupported startup parameter",  # PgBouncer
)
# Somebody has to change the configuration.
_MISCONFIGURED = (
    *_LOGIN_REFUSED,
    *_LOGIN_FORBIDDEN,
    "user .*does not exist",
    "no such database",  # PgBouncer
    # libpq's own: https://github.com/postgres/postgres/tree/REL_17_STABLE/src/interfaces/libpq
    r"invalid .*\b(value|number)\b",
    "invalid SSL protocol version range",
    "definition of service",
    "may not be used with",
    "cannot be mixed with",
    "could not match",
    "no password supplied",
    "authentication method requirement",
    "server does not support SSL",
    "channel binding",
    "certificate",
    "private key",
    "GSSAPI encryption required",
    # Neon's proxy: https://github.com/neondatabase/neon/tree/main/proxy/src
    "endpoint (cannot|could not) be found",
    "endpoint (is|has been) disabled",
    "Endpoint ID is not specified",
    "Inconsistent project name",
    "connection is insecure",
    "[Qq]uota",
    "not allowed to connect",
    "blocked network",
)
# PostgreSQL starts or stops, or has no room.
_SERVER_BUSY = (
    "the database system is",
    "too many (clients|connections)",
    "connection slots are reserved",
)
# PgBouncer has no server connection.
_NO_SERVER_CONNECTION = (
    "server_login_retry|server login has been failing",
    "query_wait_timeout",
    "cannot connect to server",
)
_TEMPORARY = (
    *_SERVER_BUSY,
    *_NO_SERVER_CONNECTION,
    "terminating connection",
    "[Tt]imed? ?out",
    "no more connections allowed",  # PgBouncer
    # Neon's proxy
    "Control plane request failed",
    "Couldn't connect to compute node",
    "Too many (connections|database connection)",
    "Failed to acquire permit",
    "rate limit",
)
# PgBouncer had no server connection for the statement, and so did not send it on. It hands on what
# PostgreSQL said to its login, and cuts its own message at 127 bytes.
_NOT_FORWARDED = (*_LOGIN_REFUSED, *_LOGIN_FORBIDDEN, *_SERVER_BUSY, *_NO_SERVER_CONNECTION)

_SEVERITY = r"\b(FATAL|ERROR|PANIC):  "


class Refusal(Enum):
    """What a failure to connect means for the next attempt."""

    MISCONFIGURED = "it fails again until somebody changes the configuration"
    TEMPORARY = "the next attempt may succeed"
    UNKNOWN = "a server said it, and nothing is known about it"


def refusal_of(message: str) -> Refusal:
    """Return what a failure to connect means."""
    if _says(message, _MISCONFIGURED):
        return Refusal.MISCONFIGURED
    if re.search(_SEVERITY, message) and not _says(message, _TEMPORARY):
        return Refusal.UNKNOWN
    return Refusal.TEMPORARY


def is_login_refused(message: str) -> bool:
    """Return whether the user or the password is not valid any more."""
    return _says(message, _LOGIN_REFUSED)


def was_not_forwarded(message: str) -> bool:
    """Return whether a pooler has not sent the statement on."""
    return _says(message, _NOT_FORWARDED)


def connection_message(error: psycopg2.Error) -> str:
    """Return the message of a connection error, and "" for an error of a statement.

    A statement's message may contain user input. Of libpq's own options the name is left, and not
    the value, which may be a part of the password.
    """
    if error.pgcode is not None and not error.pgcode.startswith("08"):
        return ""
    without_values = r'(:|(?<=value)|(?<=service)|(?<=method)|(?<=sslmode)) "[^"]*"'
    return re.sub(without_values, "", str(error))


def _says(message: str, texts: tuple[str, ...]) -> bool:
    # Without the names of hosts, users and databases, which could be any of these texts.
    unquoted = re.sub(r"\"[^\"]*\"|for user '[^']*'", '""', message)
    return any(re.search(text, unquoted) for text in texts)
