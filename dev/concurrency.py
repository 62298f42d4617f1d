"""How many requests the local server handles at once."""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

REQUESTS_AT_ONCE = 64
"""Each may hold a connection. PostgreSQL allows 100 by default, and other programs need some."""


class ConcurrencyLimit:
    """Makes a request wait while `REQUESTS_AT_ONCE` others run.

    Without it, a burst of requests is a deadlock until the time limit for the database. FastAPI
    runs an operation in a thread, and then checks its response in another, with the connection
    still open. So requests with a connection wait for a thread, and those with a thread for a
    connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._free = asyncio.Semaphore(REQUESTS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        async with self._free:
            await self.app(scope, receive, send)
