"""Whether a connection URL holds the login that the function should have, and how to get one."""

import re
import secrets

from psycopg2 import extensions

from deploy.login_roles import LoginError, Roles
from todo_api.database.engine import Database
from todo_api.database.errors import DatabaseUnavailable
from todo_api.database.readiness import NotReady, check_ready
from todo_api.database.refusals import is_login_refused
from todo_api.database.url import is_neon, libpq_url

CHECK_SECONDS = 10
"""How long the database may take to answer the function's login."""

INSUFFICIENT_PRIVILEGE = "42501"


def reason_to_replace(roles: Roles, owner_url: str, url: str) -> str:
    """Return why the function needs another login than that of this URL, or "".

    Raises:
        LoginError: the database is away, so nobody knows.
    """
    parameters = parameters_of(url)
    owner = parameters_of(owner_url)
    name = parameters.get("user", "")
    if not parameters:
        return "the parameter held no connection string"
    if parameters != {**owner, "user": name, "password": parameters.get("password")}:
        return "the parameter named another database than the owner's, or other options"
    if name == owner["user"]:
        return "the parameter held the owner's login"
    if not roles.may_log_in(name):
        return f"the server has no login {name}, or it is locked"
    differences = roles.differences(name)
    if differences:
        return f"{name} was not as it should be: {'; '.join(differences)}"
    roles.grant_connect(name)
    try:
        _check(url)
    except NotReady as error:
        return f"{name} was not as it should be: {error}"
    except DatabaseUnavailable as error:
        if is_login_refused(error.reason) or error.sqlstate == INSUFFICIENT_PRIVILEGE:
            return f"{name} was refused"
        raise LoginError(
            f"The database does not answer the function's login {name} (waited for up to "
            f"{CHECK_SECONDS} s; {error}), so whether it is right is unknown. Deploy again when it "
            "does."
        ) from None
    return ""


def create_login(roles: Roles, owner_url: str) -> str:
    """Create a login that works, and return its URL.

    Raises:
        LoginError: the owner may not, or the login does not work.
    """
    name = roles.new_name()
    password = secrets.token_urlsafe(32)
    url = _with_login(owner_url, name, password)
    roles.create(name, password)
    failure = "; ".join(roles.differences(name))
    try:
        roles.grant_connect(name)
        _check(url)
    except (DatabaseUnavailable, NotReady, LoginError) as error:
        failure = failure or str(error)
    if failure:
        roles.drop(name)
        failure = failure.removesuffix(".")
        raise LoginError(f"The new login {name} does not work, and was dropped: {failure}.")
    return url


def user_of(url: str) -> str:
    """Return the login of a connection URL, or "" if it is none."""
    return parameters_of(url).get("user", "")


def parameters_of(url: str) -> dict[str, str]:
    """Return libpq's parameters, or none if this is not a connection URL."""
    try:
        return extensions.parse_dsn(libpq_url(url))
    except ValueError:
        return {}


def verification_warning(url: str) -> str:
    """Return a sentence if anybody between Neon and the function could pretend to be Neon."""
    parameters = parameters_of(url)
    binds_channel = parameters.get("channel_binding") == "require"
    verifies = parameters.get("sslmode") == "verify-full"
    if not is_neon(parameters["host"]) or binds_channel or verifies:
        return ""
    return "The connection string does not verify the server: add channel_binding=require to it."


def _with_login(url: str, user: str, password: str) -> str:
    """Return the URL with another user and password, and everything else as it is."""
    changed = re.sub(r"//([^/@]*@)?", f"//{user}:{password}@", url, count=1)
    if parameters_of(changed) != {**parameters_of(url), "user": user, "password": password}:
        raise LoginError(
            "User and password of the owner's connection string must stand before its host."
        )
    return changed


def _check(url: str) -> None:
    """Connect as the function does, and check what `/ready` checks."""
    database = Database(lambda: url)
    with database.session(user_id="", timeout_seconds=CHECK_SECONDS) as session:
        check_ready(session, every_column=True)
