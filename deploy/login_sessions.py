"""Ends the sessions of locked logins, without cutting off a request.

At Neon, the pooler keeps connections of a login for up to ten minutes after its last request.
"""

import time
from collections.abc import Collection
from contextlib import suppress

import psycopg2

from deploy.login_roles import Roles

IDLE_SECONDS = 2
"""After a login is locked, a session that is idle for so long cannot belong to a request: a request
sends its statement as soon as it has connected, and nobody connects any more."""

SESSIONS_SQL = "SELECT pid, usename FROM pg_stat_activity WHERE usename = ANY(%(names)s) ORDER BY 1"
END_SQL = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE usename = ANY(%(names)s) AND (
    %(all)s OR (state = 'idle' AND state_change < now() - %(seconds)s * interval '1 second')
)
"""
MAY_ACT_AS_SQL = "SELECT pg_has_role(session_user, %(name)s, 'USAGE')"
SERVER_VERSION_SQL = "SELECT current_setting('server_version_num')::int"


def end_sessions(roles: Roles, names: Collection[str], request_seconds: float) -> str:
    """End the idle sessions of locked logins, and the others when no request can be in them.

    Args:
        roles: of the stage.
        names: the logins.
        request_seconds: how long a request may take.

    Returns:
        A sentence with the SQL for the sessions that the owner may not end, or "".
    """
    deadline = time.monotonic() + request_seconds
    joined = [name for name in set(_sessions(roles, names).values()) if _join(roles, name)]
    try:
        while _sessions(roles, names) and time.monotonic() < deadline + IDLE_SECONDS:
            is_over = time.monotonic() >= deadline
            with suppress(psycopg2.errors.InsufficientPrivilege):  # reported below
                roles.run(END_SQL, names=list(names), all=is_over, seconds=IDLE_SECONDS)
            time.sleep(0.1)
    finally:
        for name in joined:
            roles.run(roles.sql("REVOKE {name} FROM CURRENT_USER", name=name))
    left = [f"SELECT pg_terminate_backend({pid})" for pid in _sessions(roles, names)]
    if not left:
        return ""
    return (
        f"{roles.owner} may not end all sessions of the logins that are locked now. As a role that "
        f"may, run: {'; '.join(left)}."
    )


def _sessions(roles: Roles, names: Collection[str]) -> dict[int, str]:
    """Return the server's processes for the sessions of these logins, each with its login."""
    return dict(roles.run(SESSIONS_SQL, names=list(names)))


def _join(roles: Roles, name: str) -> bool:
    """Make the owner a member of a login, which is the right to see and to end its sessions.

    Returns:
        Whether the owner was none before, and is one now.
    """
    if roles.has(MAY_ACT_AS_SQL, name):
        return False
    ((version,),) = roles.run(SERVER_VERSION_SQL)
    option = " WITH INHERIT TRUE" if version >= 160_000 else ""
    try:
        roles.run(roles.sql("GRANT {name} TO CURRENT_USER", name=name) + option)
    except psycopg2.errors.InsufficientPrivilege:
        return False
    return True
