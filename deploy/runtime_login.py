"""The function's own login: a role that owns nothing, and may only switch to `todo_app`.

`serverless deploy` runs this after the migrations. It keeps the login that the function's parameter
names, or replaces it, and locks every other login of the stage and its database. No request is lost
meanwhile: a login's name is used once, and its password stays until the parameter holds the next
one. deploy/plugin.js reads and writes the parameter for it.
"""

import argparse
import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Protocol

import psycopg2
from psycopg2.sql import SQL, Literal

from deploy.login_check import (
    create_login,
    parameters_of,
    reason_to_replace,
    user_of,
    verification_warning,
)
from deploy.login_roles import STATEMENT_SECONDS, LoginError, Roles
from deploy.login_sessions import end_sessions
from migrations.owner import LockTimeout, answer_within, connect, direct_url, wait_for_lock
from todo_api.database.errors import reason_of
from todo_api.database.refusals import connection_message, is_login_refused
from todo_api.database.url import libpq_url
from todo_api.settings import drop_libpq_variables

LOCK_SECONDS = 120
"""How long to wait for other deploys of stages in the same database."""
ADVISORY_LOCK = 7_030_461_218_340_772
"""An arbitrary number, the same in every release: whoever holds this lock changes logins."""


class Parameter(Protocol):
    """The parameter in Parameter Store that the function reads."""

    def read(self) -> str:
        """Return its value, "" if there is none."""

    def write(self, url: str) -> None:
        """Replace its value."""


def renew(
    owner_url: str,
    stage: str,
    parameter: Parameter,
    *,
    rotate: bool = False,
    request_seconds: float = 0,
) -> list[str]:
    """Keep the function's login if it is right, else replace it, and lock all others.

    Any number of these may run at once: in the end one login works, the one in the parameter.

    Args:
        owner_url: the connection URL of the login that owns the tables.
        stage: the stage, which the login is named after.
        parameter: the function's parameter.
        rotate: replace a login that is right, too.
        request_seconds: how long a request of the function may take.

    Returns:
        Messages for whoever deploys.

    Raises:
        LoginError: it failed; the message says how far it came.
    """
    notes = [verification_warning(owner_url)]
    done = "Nothing was changed."
    try:
        with _locked(owner_url), closing(Roles(owner_url, stage)) as roles:
            old = used = parameter.read()
            reason = "it was to be rotated" if rotate else reason_to_replace(roles, owner_url, old)
            if reason:
                new = create_login(roles, owner_url)
                done = "A new login was created, but is not used: the next deploy locks it."
                parameter.write(new)
                done = "The parameter holds a new login. Others may still work: deploy again."
                used = parameter.read()
                if used != new and reason_to_replace(roles, owner_url, used):
                    raise LoginError("Somebody else has written a wrong login to the parameter.")
                left = _leave(roles, old)
                done = f"{done} {left}".strip()
                notes += [f"The function has the new login {user_of(used)}: {reason}.", left]
            else:
                done = "The function keeps its login."
            roles.mark(user_of(used))
            others = roles.others(user_of(used))
            roles.lock([name for name, may_log_in in others.items() if may_log_in])
            notes.append(end_sessions(roles, others, request_seconds))
    except LockTimeout as timeout:
        raise LoginError(
            f"Another deploy has not released the lock of the function's logins for {LOCK_SECONDS} "
            f"s. {timeout} {done}"
        ) from None
    except LoginError as error:
        raise LoginError(f"{error} {done}") from None
    except psycopg2.Error as error:
        raise LoginError(f"The owner's connection failed: {_reason(error)}. {done}") from None
    return [note for note in notes if note]


@contextmanager
def _locked(owner_url: str) -> Iterator[None]:
    """Hold the lock of the logins, in an open transaction, so that it holds behind a pooler too."""
    with closing(connect(direct_url(owner_url))) as connection:
        sql = "SELECT pg_try_advisory_xact_lock(%s)"
        wait_for_lock(connection, sql, ADVISORY_LOCK, LOCK_SECONDS)
        with (
            answer_within(STATEMENT_SECONDS, owner_url, "a statement of the owner"),
            connection.cursor() as cursor,
        ):
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield


def _leave(roles: Roles, old_url: str) -> str:
    """Make the old login refused on the server that it names, which the stage may have left.

    Instances that run then read the parameter again.

    Returns:
        A sentence if they may go on with the old login, else "".
    """
    name = user_of(old_url)
    if not name:
        return ""
    problem = "is no login that a deploy has made"
    if roles.is_of_the_stage(name):
        problem = _change_own_password(libpq_url(old_url))
    if not problem:
        return ""
    host = parameters_of(old_url)["host"]
    return (
        f"The login {name} on {host}, which the parameter held before, {problem}. Instances of the "
        f"function that reach it go on with it until they are replaced: run ALTER ROLE {name} "
        "NOLOGIN PASSWORD NULL there, or, if that server is gone, deploy a changed setting of the "
        "function, as --param tracing=true."
    )


def _change_own_password(url: str) -> str:
    """Log in, and take a random password. Returns what went wrong, or "" if it is refused now."""
    change = SQL("ALTER ROLE CURRENT_USER PASSWORD {}")
    try:
        with (
            closing(connect(direct_url(url))) as session,
            answer_within(STATEMENT_SECONDS, url, "a statement"),
            session.cursor() as cursor,
        ):
            cursor.execute(change.format(Literal(secrets.token_urlsafe(32))))
            session.commit()
    except psycopg2.Error as error:
        if not is_login_refused(connection_message(error)):
            return f"could not be locked ({_reason(error)})"
    return ""


def _reason(error: psycopg2.Error) -> str:
    """Return what went wrong, without the statement, which may hold the password."""
    return error.diag.message_primary or reason_of(error)


class PluginParameter:
    """The parameter, which deploy/plugin.js reads and writes: a line of JSON out, one back."""

    def read(self) -> str:
        """Return its value, "" if there is none."""
        return self._ask("read")

    def write(self, url: str) -> None:
        """Replace its value."""
        self._ask("write", url)

    def _ask(self, *request: str) -> str:
        print(json.dumps(request), flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise LoginError("The parameter could not be read or written.")
        return str(json.loads(answer))


def main() -> None:
    """Run from the command line, with the owner's connection URL in the environment."""
    parser = argparse.ArgumentParser(description="The function's own login.")
    parser.add_argument("stage")
    parser.add_argument("--rotate", action="store_true", help="replace a login that is right, too")
    parser.add_argument(
        "--request-seconds", type=float, default=0, help="how long a request may take"
    )
    arguments = parser.parse_args()
    drop_libpq_variables()
    try:
        notes = renew(
            libpq_url(os.environ["NEON_DATABASE_URL"]),
            arguments.stage,
            PluginParameter(),
            rotate=arguments.rotate,
            request_seconds=arguments.request_seconds,
        )
    except LoginError as refusal:
        sys.exit(str(refusal))
    except ValueError as error:  # of libpq_url
        sys.exit(f"The owner's connection string {error}. Nothing was changed.")
    for note in notes:
        print(note, file=sys.stderr)


if __name__ == "__main__":
    main()
