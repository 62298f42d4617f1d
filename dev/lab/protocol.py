"""PostgreSQL's protocol as far as a stand-in for a server needs it.

https://www.postgresql.org/docs/current/protocol-message-formats.html
"""

import socket

SSL_REQUEST = (80_877_103).to_bytes(4)
GSS_REQUEST = (80_877_104).to_bytes(4)
VERSION_3 = (3 << 16).to_bytes(4)

# The codes of authentication messages.
OK = 0
CLEARTEXT = 3
MD5 = 5
SASL = 10
SASL_CONTINUE = 11
SASL_FINAL = 12


class Connection:
    """One end of a connection. What is written is sent together by `flush`."""

    def __init__(self, raw: socket.socket) -> None:
        self.socket = raw
        self._written = b""

    def write(self, kind: bytes, content: bytes) -> None:
        """Append a message to what is sent next."""
        self._written += framed(kind, content)

    def flush(self) -> None:
        """Send what was written."""
        self.socket.sendall(self._written)
        self._written = b""

    def read(self) -> tuple[bytes, bytes]:
        """Return the kind and the content of the next message."""
        kind = exactly(self.socket, 1)
        return kind, content(self.socket)


class Client(Connection):
    """The server's end of a client's connection."""

    def write_error(self, message: str) -> None:
        """Append an error, as Neon's proxy makes it."""
        self._written += error_response("ERROR", "XX000", message)

    def write_authentication(self, code: int, content: bytes = b"") -> None:
        """Append what the server asks for, or says of the password."""
        self.write(b"R", code.to_bytes(4) + content)

    def ask(self, code: int, content: bytes = b"") -> bytes:
        """Ask for a password, or the next message of SCRAM, and return the answer."""
        self.write_authentication(code, content)
        self.flush()
        return self.read()[1]


def framed(kind: bytes, content: bytes) -> bytes:
    """Return a message."""
    return kind + (len(content) + 4).to_bytes(4) + content


def error_response(severity: str, sqlstate: str, message: str) -> bytes:
    """Return the message of an error."""
    fields = f"S{severity}\0V{severity}\0C{sqlstate}\0M{message}\0\0"
    return framed(b"E", fields.encode())


def exactly(source: socket.socket, size: int) -> bytes:
    """Read this number of bytes.

    Raises:
        EOFError: the connection ends before.
    """
    data = b""
    while len(data) < size:
        piece = source.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def content(source: socket.socket) -> bytes:
    """Read the content of a message, whose length stands before it."""
    return exactly(source, int.from_bytes(exactly(source, 4)) - 4)
