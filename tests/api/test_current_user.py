"""The caller is read from one place of a request, and from no other."""

import asyncio
from contextlib import closing
from typing import Any, Literal

import pytest
from fastapi import Request

from todo_api.api.session import current_user
from todo_api.app import create_app
from todo_api.settings import Settings

VERIFIED = {"requestContext": {"authorizer": {"jwt": {"claims": {"sub": "alice"}}}}}


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("header", {"headers": [(b"x-user-id", b"alice")]}),
        ("authorizer", {"headers": [], "aws.event": VERIFIED}),
    ],
)
def test_the_caller_needs_nothing_but_the_application_and_its_own_source(
    source: Literal["header", "authorizer"], parts: dict[str, Any]
) -> None:
    """Whatever else a request holds, such as a query, is missing here, so reading it would fail."""
    settings = Settings(
        neon_database_url="postgresql://nobody@localhost/none", identity_source=source
    )
    scope = {"type": "http", "app": create_app(settings), **parts}
    # Not asyncio.run: it would leave this thread without the event loop that Mangum asks for.
    with closing(asyncio.new_event_loop()) as loop:
        assert loop.run_until_complete(current_user(Request(scope))) == "alice"
