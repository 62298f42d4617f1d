"""The function's own login: a role that owns nothing, and may only switch to `todo_app`.

`serverless deploy` runs this after the migrations: `create` prints the connection URL of a new
login, where one is needed; deploy/plugin.js writes it to Parameter Store; then `close` locks the
login before it out. No request is lost meanwhile, because the parameter always holds a login that
works: a login's name is used once, and its password stays until the parameter holds the next one.
"""

import argparse
import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
from psycopg2 import extensions, sql
from sqlalchemy import text

from todo_api.database.engine import Database
from todo_api.database.errors import DatabaseUnavailable
from todo_api.database.readiness import NotReady, check_ready
from todo_api.database.url import direct_url, libpq_url

TIMEOUT_SECONDS = 10
"""How long the database may take to answer the new login."""

# NOINHERIT: the login has no rights before it switches to todo_app. The password is in clear,
# inside TLS, because Neon hands it to the proxy before the database. The proxy does not know of
# NOLOGIN, so `close` changes the password too.
CREATE = sql.SQL("CREATE ROLE {name} LOGIN NOINHERIT IN ROLE todo_app PASSWORD {password}")
CLOSE = sql.SQL("ALTER ROLE {name} NOLOGIN PASSWORD {password}")
DROP = sql.SQL("DROP ROLE {name}")

# What somebody creates on the search path of the owner could be called with the owner's rights.
MAY_CREATE_IN = """
SELECT quote_ident(nspname) FROM pg_namespace
WHERE nspname !~ '^pg_' AND has_schema_privilege(session_user, oid, 'CREATE')
"""


class LoginError(Exception):
    """The database refused; the message says what to do, without a password."""


def create(owner_url: str, current_url: str, stage: str, *, rotate: bool = False) -> str | None:
    """Create a login for the function, unless its current one works.

    Args:
        owner_url: the connection URL of the login that owns the tables.
        current_url: the connection URL of the function, "" if it has none yet.
        stage: the stage, which the login is named after.
        rotate: create a login although the current one works.

    Returns:
        The connection URL of the new login, or None if the current one stays.

    Raises:
        LoginError: the database refused to create the login, or refuses the login.
    """
    if not rotate and _is_usable(current_url, owner_url):
        return None
    name, password = f"{_prefix(stage)}{secrets.token_hex(4)}", secrets.token_urlsafe(32)
    url = _with_login(owner_url, name, password)
    with _cursor(owner_url) as owner:
        try:
            owner.execute(CREATE.format(name=sql.Identifier(name), password=sql.Literal(password)))
        except psycopg2.errors.InsufficientPrivilege as error:
            raise LoginError(
                f"{error.diag.message_primary}. As a role that may, run: "
                f"CREATE ROLE {_prefix(stage)}by_hand LOGIN NOINHERIT IN ROLE todo_app "
                "PASSWORD '…'; then write the connection string with this user and password "
                "to the parameter, as a SecureString."
            ) from None
        try:
            _check(url)
        except (DatabaseUnavailable, NotReady) as error:
            owner.execute(DROP.format(name=sql.Identifier(name)))
            raise LoginError(
                f"the new login {name} does not work, and was dropped: {error}."
            ) from None
    return url


def close(owner_url: str, old_url: str, stage: str) -> None:
    """Lock out the login of `old_url`, if `create` made it for this stage.

    Open connections stay.
    """
    name = _parameters(old_url).get("user", "")
    if not re.fullmatch(rf"{_prefix(stage)}[0-9a-f]{{8}}", name):
        return
    with _cursor(owner_url) as owner:
        owner.execute("SELECT FROM pg_roles WHERE rolname = %s", [name])
        if owner.rowcount:  # none if the stage has moved to another server
            password = sql.Literal(secrets.token_urlsafe(32))
            owner.execute(CLOSE.format(name=sql.Identifier(name), password=password))


def _prefix(stage: str) -> str:
    return f"todo_app_{stage.replace('-', '_')}_"


def _parameters(url: str) -> dict[str, str]:
    """Return libpq's parameters, or none if this is not a connection URL."""
    try:
        return extensions.parse_dsn(libpq_url(url))
    except ValueError:
        return {}


def _is_usable(url: str, owner_url: str) -> bool:
    """Whether this URL is the owner's with another login, which works."""
    parameters, owner = _parameters(url), _parameters(owner_url)
    login = {name: parameters.get(name) for name in ("user", "password")}
    if parameters != {**owner, **login} or login["user"] == owner["user"]:
        return False
    try:
        _check(url)
    except (DatabaseUnavailable, NotReady):
        return False
    return True


def _with_login(url: str, user: str, password: str) -> str:
    """Return the URL with another user and password, and everything else as it is."""
    changed = re.sub(r"//([^/?]*@)?", f"//{user}:{password}@", url, count=1)
    if _parameters(changed) != {**_parameters(url), "user": user, "password": password}:
        raise LoginError(
            "user and password of the owner's connection string must stand before its host."
        )
    return changed


def _check(url: str) -> None:
    """Connect as the function does, and check what `/ready` checks."""
    database = Database(lambda: url)
    with database.session(user_id="", timeout_seconds=TIMEOUT_SECONDS) as session:
        check_ready(session, every_column=True)
        schemas = session.connection().scalars(text(MAY_CREATE_IN)).all()
    if schemas:
        raise NotReady(f"it may create in the schema {', '.join(schemas)}")


@contextmanager
def _cursor(owner_url: str) -> Iterator[extensions.cursor]:
    with (
        closing(psycopg2.connect(direct_url(owner_url))) as connection,
        connection.cursor() as cursor,
    ):
        connection.autocommit = True
        yield cursor


def main() -> None:
    """Run from the command line, with both connection URLs in the environment."""
    parser = argparse.ArgumentParser(description="The function's own login.")
    parser.add_argument("command", choices=["create", "close"])
    parser.add_argument("stage")
    parser.add_argument(
        "--rotate", action="store_true", help="create a login although the current one works"
    )
    arguments = parser.parse_args()
    owner_url, url = libpq_url(os.environ["NEON_DATABASE_URL"]), os.environ["RUNTIME_DATABASE_URL"]
    try:
        if arguments.command == "create":
            print(create(owner_url, url, arguments.stage, rotate=arguments.rotate) or "", end="")
        else:
            close(owner_url, url, arguments.stage)
    except LoginError as refusal:
        sys.exit(str(refusal))
    except psycopg2.Error as error:
        # Only the first line: the next may quote the statement, with the password.
        sys.exit(str(error).partition("\n")[0])


if __name__ == "__main__":
    main()
