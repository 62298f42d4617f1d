"""What a TLS client says before anything is encrypted."""

import io
import socket
from typing import NamedTuple

# https://www.iana.org/assignments/tls-extensiontype-values
_SERVER_NAME = b"\x00\x00"
_PROTOCOLS = b"\x00\x10"


class ClientHello(NamedTuple):
    """The beginning of a TLS handshake."""

    server_name: str
    """The name that the client looks for (SNI), or an empty string."""

    protocols: list[bytes]
    """The protocols that it offers (ALPN). Python's server ignores those that it does not speak."""


def peek_client_hello(client: socket.socket) -> ClientHello:
    """Read the ClientHello that comes next, and leave it to be read again.

    https://www.rfc-editor.org/rfc/rfc8446#section-4.1.2
    """
    peek = socket.MSG_PEEK | socket.MSG_WAITALL
    size = 5 + int.from_bytes(client.recv(5, peek)[3:])
    hello = io.BytesIO(client.recv(size, peek))
    hello.read(5 + 4 + 2 + 32)  # the headers of record and handshake, version, random
    for width in (1, 2, 1):  # session, cipher suites, compression methods
        _vector(hello, width)
    extensions = io.BytesIO(_vector(hello, 2))
    server_name = ""
    protocols = []
    while kind := extensions.read(2):
        extension = io.BytesIO(_vector(extensions, 2))
        entries = io.BytesIO(_vector(extension, 2))
        if kind == _SERVER_NAME:
            entries.read(1)  # the only type of names
            server_name = _vector(entries, 2).decode()
        if kind == _PROTOCOLS:
            while name := _vector(entries, 1):
                protocols.append(name)
    return ClientHello(server_name, protocols)


def _vector(stream: io.BytesIO, width: int) -> bytes:
    """Read bytes whose number stands before them, in `width` bytes."""
    return stream.read(int.from_bytes(stream.read(width)))
