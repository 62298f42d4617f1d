"""Proxies in front of PostgreSQL: one counts the traffic, and one injects faults."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from dev.lab.protocol import error_response, framed


class Proxy:
    """Listens on a loopback port, and passes each connection to the subclass's `link`."""

    def __init__(self, upstream: int, port: int = 0) -> None:
        """Listen on `port` (0: any free one), for connections to the port `upstream`."""
        self.upstream = upstream
        self._links: set[asyncio.Task[None] | None] = set()
        self._loop = asyncio.new_event_loop()
        server = asyncio.start_server(self._accept, "127.0.0.1", port)
        self.port: int = self._loop.run_until_complete(server).sockets[0].getsockname()[1]
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    async def _accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        # asyncio keeps only weak references to tasks, so a waiting one could be garbage-collected.
        link = asyncio.current_task()
        self._links.add(link)
        try:
            with suppress(OSError):
                await self.link(client, to_client)
        finally:
            self._links.remove(link)
            to_client.close()

    @property
    def open(self) -> int:
        """The number of open connections."""
        return len(self._links)

    async def link(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Forward one connection until its end."""
        raise NotImplementedError


async def pump(
    source: asyncio.StreamReader,
    target: asyncio.StreamWriter,
    note: Callable[[bytes], None],
    delay: float = 0,
) -> None:
    """Forward bytes until the end.

    Calls `note` before each piece, and with an empty one at the end.
    """
    later = asyncio.get_running_loop().call_later
    with suppress(OSError):
        while data := await source.read(65536):
            note(data)
            if delay:
                later(delay, target.write, data)
            else:
                target.write(data)
                await target.drain()
    note(b"")
    later(delay, target.close)


class Frontend:
    """Parses a client's messages.

    See https://www.postgresql.org/docs/current/protocol-message-formats.html.
    """

    def __init__(self) -> None:
        self._started = False
        self._pending = b""

    def statements(self, data: bytes) -> list[str]:
        """Return the statements that these bytes complete."""
        found = []
        self._pending += data
        while 0 < (size := self._size()) <= len(self._pending):
            message = self._pending[:size]
            self._pending = self._pending[size:]
            if self._started and message[:1] == b"Q":
                found.append(message[5:-1].decode())
            elif message[4:8] == b"\x00\x03\x00\x00":
                self._started = True
        return found

    def _size(self) -> int:
        """The size of the first pending message, 0 while it is unknown.

        Start-up messages have no type byte.
        """
        tag = 1 if self._started else 0
        return (
            tag + int.from_bytes(self._pending[tag : tag + 4])
            if len(self._pending) >= tag + 4
            else 0
        )


@dataclass
class Traffic:
    """What passed during a `watch`."""

    connections: int = 0
    statements: list[str] = field(default_factory=list)
    round_trips: int = 0


class TrafficCounter(Proxy):
    """Counts connections, statements and round trips."""

    def __init__(self, upstream: int, behind: "TrafficCounter | None" = None) -> None:
        """Listen.

        Args:
            upstream: the port to forward connections to.
            behind: a counter between pooler and database, which sees the statements unencrypted.
        """
        self._behind = behind
        self._delay = 0.0
        self.traffic = Traffic()
        super().__init__(upstream)

    @contextmanager
    def watch(self, delay: float = 0) -> Iterator[Traffic]:
        """Count the traffic inside the `with` block.

        Args:
            delay: latency in seconds from client to server. It makes the number of round trips
                exact: without it, a response may arrive before the rest of what the client sends.
        """
        self._delay = delay
        self.traffic = traffic = Traffic()
        if self._behind:
            self._behind.traffic = Traffic(statements=traffic.statements)
        yield traffic
        self.traffic = Traffic()
        self._delay = 0

    async def link(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Forward one connection, and count."""
        traffic = self.traffic
        frontend = Frontend()
        is_waiting = False
        traffic.connections += 1

        def sent(data: bytes) -> None:
            nonlocal is_waiting
            is_waiting = bool(data)  # nothing is expected after the end
            # A pooler reuses its connections, so count the statement for the current `watch`.
            self.traffic.statements += frontend.statements(data)

        def received(data: bytes) -> None:
            nonlocal is_waiting
            # The end of the connection is no answer to the client's goodbye.
            traffic.round_trips += is_waiting and bool(data)
            is_waiting = False

        # The round trip of TCP's handshake, which ends in this proxy.
        await asyncio.sleep(self._delay)
        server, to_server = await asyncio.open_connection("127.0.0.1", self.upstream)
        await asyncio.gather(
            pump(client, to_server, sent, self._delay), pump(server, to_client, received)
        )


class FaultyProxy(Proxy):
    """Forwards connections, or injects the named `fault`, a delay or an error response.

    `sqlstate` is that of an error in the statement. `fatal` is the text with which a pooler ends
    the connection instead.
    """

    fault = ""
    sleep_seconds = 0.0
    sqlstate = ""
    fatal = ""

    def next_fault(self) -> str:
        """Return the fault of a new connection."""
        return self.fault

    def end_fault(self) -> None:
        """Forward the next connections without a fault."""
        self.fault = ""
        self.sleep_seconds = 0
        self.sqlstate = ""
        self.fatal = ""

    async def link(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        """Forward one connection, with a fault."""
        fault = self.next_fault()
        frontend = Frontend()
        is_answer = False
        if fault == "reset, then silent":
            self.fault = "silent"
            await client.readexactly(8)
            _reset(to_client)
            return
        if fault == "silent in the TLS handshake":
            await client.readexactly(8)
            to_client.write(b"S")
        if fault.startswith("silent"):
            await _until_closed(client)
            return
        await asyncio.sleep(self.sleep_seconds)
        server, to_server = await asyncio.open_connection("127.0.0.1", self.upstream)

        async def to_the_server() -> None:
            nonlocal is_answer
            while data := await client.read(65536):
                if frontend.statements(data):
                    is_answer = True
                    if fault == "frozen before the query":
                        await _until_closed(client)
                        return
                    if fault == "delayed until the client has gone":
                        await _until_closed(client)
                        to_server.write(data)
                        return
                    if self.sqlstate:
                        _refuse(to_client, self.sqlstate)
                        continue
                    if self.fatal:
                        to_client.write(error_response("FATAL", "08P01", self.fatal))
                        return
                    if fault == "nonsense instead of an answer":
                        to_client.write(framed(b"?", b""))
                        return
                to_server.write(data)

        async def to_the_client() -> None:
            while data := await server.read(65536):
                if is_answer and fault.endswith("mid-answer"):
                    to_client.write(data[:10])
                    await to_client.drain()
                if is_answer and fault == "frozen mid-answer":
                    await asyncio.Event().wait()
                if is_answer and fault in ("reset mid-answer", "reset after the query was sent"):
                    _reset(to_client)
                    return
                to_client.write(data)
                if fault == "reset before the query" and data.endswith(b"Z\x00\x00\x00\x05I"):
                    _reset(to_client)
                    return

        try:
            tasks = [asyncio.ensure_future(to_the_server()), asyncio.ensure_future(to_the_client())]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            to_server.close()


async def _until_closed(client: asyncio.StreamReader) -> None:
    while await client.read(65536):
        pass


def _reset(writer: asyncio.StreamWriter) -> None:
    # With a linger time of 0, closing sends RST.
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()


def _refuse(writer: asyncio.StreamWriter, sqlstate: str) -> None:
    error = error_response("ERROR", sqlstate, "refused by the test")
    writer.write(error + framed(b"Z", b"I"))


@contextmanager
def unresponsive_port(address: str) -> Iterator[int]:
    """Open a port that does not accept TCP connections, because its backlog is full (on Linux)."""
    with socket.create_server((address, 0), backlog=0) as listener, ExitStack() as stack:
        port = listener.getsockname()[1]
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex((address, port))
        yield port
