"""A proxy in front of PostgreSQL that counts what passes: connections, statements and round trips.

It reads the frontend's side of the protocol (https://www.postgresql.org/docs/current/protocol-message-formats.html)
and passes every byte on.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Traffic:
    """What passed since a moment."""

    connections: int = 0
    statements: list[str] = field(default_factory=list)
    round_trips: int = 0


class Wire:
    """Listens on a loopback port and passes each connection on to `upstream`, a port as well."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._traffic = Traffic()
        self._loop = asyncio.new_event_loop()
        server = asyncio.start_server(self._link, "127.0.0.1", 0)
        self.port: int = self._loop.run_until_complete(server).sockets[0].getsockname()[1]
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    @contextmanager
    def watch(self) -> Iterator[Traffic]:
        """Count what the connections that begin inside the `with` block carry."""
        self._traffic = traffic = Traffic()
        yield traffic
        self._traffic = Traffic()

    async def _link(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        count = _Counter(self._traffic)
        with suppress(OSError):
            server, to_server = await asyncio.open_connection("127.0.0.1", self._upstream)
            await asyncio.gather(_pump(client, to_server, count.sent), _pump(server, to_client, count.received))
        to_client.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, note: Callable[[bytes], None]) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            note(data)
            target.write(data)
            await target.drain()
    target.close()


class _Counter:
    """Reads along on one connection."""

    def __init__(self, traffic: Traffic) -> None:
        self.traffic = traffic
        self.answered = True
        self.started = False
        self.pending = b""
        traffic.connections += 1

    def received(self, _: bytes) -> None:
        self.answered = True

    def sent(self, data: bytes) -> None:
        if data[:1] != b"X":  # Terminate: nobody waits for an answer
            self.traffic.round_trips += self.answered
            self.answered = False
        self.pending += data
        while 0 < (size := self._message_size()) <= len(self.pending):
            message, self.pending = self.pending[:size], self.pending[size:]
            if self.started and message[:1] == b"Q":
                self.traffic.statements.append(message[5:-1].decode())
            elif message[4:8] == b"\x00\x03\x00\x00":
                self.started = True

    def _message_size(self) -> int:
        """The size of the first pending message, 0 while it is unknown. Start-up messages have no type byte."""
        tag = 1 if self.started else 0
        return tag + int.from_bytes(self.pending[tag : tag + 4]) if len(self.pending) >= tag + 4 else 0
