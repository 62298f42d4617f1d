"""A stand-in for Neon's proxy, in front of PostgreSQL or PgBouncer.

It does what the proxy did when it was tried (docs/operations.md): TLS, the password
exchange and refusals are its own, and the connection onward is another one, without TLS.
https://github.com/neondatabase/neon/tree/main/proxy
"""

import math
import re
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal
from urllib.parse import quote, urlencode

import trustme
from psycopg2.extensions import parse_dsn

from dev.lab.client_hello import ClientHello, peek_client_hello
from dev.lab.protocol import (
    CLEARTEXT,
    GSS_REQUEST,
    MD5,
    OK,
    SASL,
    SASL_CONTINUE,
    SASL_FINAL,
    SSL_REQUEST,
    VERSION_3,
    Client,
    Connection,
    content,
)
from dev.lab.proxy import TrafficCounter
from dev.lab.scram import Challenge, Proof, Verifier, WrongPassword, verifier_of, verifier_of_nobody
from dev.lab.sql import run_sql

DOMAIN = ".eu-central-1.aws.neon.tech"
HOST = f"ep-test-a1b2c3d4-pooler{DOMAIN}"

# https://www.rfc-editor.org/rfc/rfc8446#section-5.1 and #section-6
TLS_HANDSHAKE = b"\x16"
NO_APPLICATION_PROTOCOL = b"\x15\x03\x03\x00\x02\x02\x78"
PROTOCOL = "postgresql"

FORWARDED = ("user", "database", "application_name", "replication")
"""The parameters that the proxy hands on, besides what it leaves of `options`."""

ENDPOINT_OPTIONS = ("endpoint", "project")

INSECURE = "connection is insecure (try using `sslmode=require`)"
NO_ENDPOINT = (
    "Endpoint ID is not specified. Either please upgrade the postgres client library (libpq) for "
    "SNI support or pass the endpoint ID (first part of the domain name) as a parameter: "
    "'?options=endpoint%3D<endpoint-id>'. See more at https://neon.tech/sni"
)
INCONSISTENT = "Inconsistent project name inferred from SNI ('{}') and project option ('{}')."
NO_COMPUTE = "Couldn't connect to compute node"


@dataclass
class Refusal:
    """What the next clients are refused with."""

    message: str
    stage: Literal["before SCRAM", "in SCRAM", "after AuthenticationOk"]
    times: float = math.inf


class Refused(Exception):
    """The client is refused with this message."""


class NeonProxy:
    """A running stand-in. A test may change how it treats the next connections."""

    direct_tls: Literal["accept", "hang up", "hang"] = "accept"
    """What it does with TLS that starts without a question."""

    refusal: Refusal | None = None

    impostor: Literal["", "SCRAM without channel binding", "cleartext", "MD5"] = ""
    """How it asks for the password, as somebody in between with another certificate would."""

    def __init__(self, counter: TrafficCounter, ca: Path, database: str) -> None:
        self.counter = counter
        self.ca = ca
        self.passwords: list[bytes] = []
        """What clients have answered when asked for a cleartext or MD5 password."""
        self._database = database
        self._verifiers: dict[str, Verifier] = {}

    def uri(self, sslmode: str = "verify-full", **options: str) -> str:
        """Return the database's URI through counter and proxy, under a host name of Neon's."""
        parts = parse_dsn(self._database)
        address = (
            f"{parts['user']}:{parts['password']}@{HOST}:{self.counter.port}/{parts['dbname']}"
        )
        query = {"hostaddr": "127.0.0.1", "sslmode": sslmode}
        if sslmode.startswith("verify"):  # with it, "require" would verify the certificate too
            query["sslrootcert"] = str(self.ca)
        return f"postgresql://{address}?{urlencode(query | options, quote_via=quote)}"

    def documented_uri(self) -> str:
        """Return the URI as Neon's console shows it, in which SCRAM alone verifies the server."""
        return self.uri("require", channel_binding="require")

    def verifier(self, role: str) -> Verifier:
        """Return the verifier of the role's password, and remember it, as the proxy does."""
        if role not in self._verifiers:
            secrets = dict(run_sql(self._database, "SELECT rolname, rolpassword FROM pg_authid"))
            if not secrets.get(role):
                return verifier_of_nobody()
            self._verifiers[role] = verifier_of(secrets[role])
        return self._verifiers[role]


@contextmanager
def neon_proxy(database: str) -> Iterator[NeonProxy]:
    """Run a stand-in in front of the server of `database`, whose URI is a superuser's.

    It stands between traffic counters, which count statements too.
    """
    authority = trustme.CA()
    issued = authority.issue_cert(HOST, HOST.replace("-pooler", ""))
    certificate = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols([PROTOCOL])
    issued.configure_cert(context)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError, EOFError):
                hello = _begin_tls(self.request, proxy)
                if hello is None:
                    return
                with context.wrap_socket(self.request, server_side=True) as encrypted:
                    encrypted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    session = _Session(proxy, Client(encrypted), hello.server_name, certificate)
                    session.serve(behind.port)
                    _say_goodbye(encrypted)

    with (
        TemporaryDirectory(prefix="todo-api-neon-") as folder,
        _Server(("127.0.0.1", 0), Handler) as server,
    ):
        ca = Path(folder) / "ca.pem"
        authority.cert_pem.write_to_path(str(ca))
        behind = TrafficCounter(int(parse_dsn(database)["port"]))
        proxy = NeonProxy(TrafficCounter(server.server_address[1], behind), ca, database)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield proxy
        server.shutdown()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 100


# --- TLS ------------------------------------------------------------------------------------------


def _begin_tls(client: socket.socket, proxy: NeonProxy) -> ClientHello | None:
    """Answer a client until its TLS handshake.

    Returns the beginning of the handshake, or None where there is none to go on with.
    """
    if client.recv(1, socket.MSG_PEEK) == TLS_HANDSHAKE:
        while proxy.direct_tls == "hang" and client.recv(65536):
            pass
        if proxy.direct_tls != "accept":
            return None
    else:
        request = content(client)[:4]
        if request == GSS_REQUEST:
            client.sendall(b"N")
            request = content(client)[:4]
        if request == VERSION_3:
            insecure = Client(client)
            insecure.write_error(INSECURE)
            insecure.flush()
        if request != SSL_REQUEST:
            return None
        client.sendall(b"S")
    hello = peek_client_hello(client)
    if hello.protocols and PROTOCOL.encode() not in hello.protocols:
        client.recv(65536)  # closing with unread bytes would discard the alert
        client.sendall(NO_APPLICATION_PROTOCOL)
        return None
    return hello


def _say_goodbye(encrypted: ssl.SSLSocket) -> None:
    """Send `close_notify`, without waiting for the client's."""
    encrypted.settimeout(0)
    with suppress(OSError):
        encrypted.unwrap()


# --- a session ------------------------------------------------------------------------------------


class _Session:
    """A client's connection from its startup message on."""

    def __init__(
        self, proxy: NeonProxy, client: Client, server_name: str, certificate: bytes
    ) -> None:
        self._proxy = proxy
        self._client = client
        self._server_name = server_name
        self._certificate = certificate
        fields = content(client.socket)[4:].decode().split("\0")
        self._parameters = dict(zip(fields[::2], fields[1::2], strict=False))

    def serve(self, upstream: int) -> None:
        """Log the client in, here and then onward, and forward bytes until an end closes."""
        try:
            self._refuse_at("before SCRAM")
            client_key = self._authenticate()
            self._refuse_at("after AuthenticationOk")
            with socket.create_connection(("127.0.0.1", upstream)) as server:
                self._log_in(Connection(server), client_key)
                self._client.flush()
                _forward(self._client.socket, server)
        except Refused as refused:
            self._client.write_error(str(refused))
            self._client.flush()

    def _refuse_at(self, stage: str) -> None:
        """Refuse the client if this is the stage for it."""
        refusal = self._proxy.refusal
        if refusal and refusal.stage == stage and refusal.times > 0:
            refusal.times -= 1
            raise Refused(refusal.message)

    def _authenticate(self) -> bytes:
        """Ask for the password, and return the client's key."""
        user = self._parameters["user"]
        verifier = self._proxy.verifier(user)
        endpoint = self._endpoint()
        try:
            if self._proxy.impostor == "MD5":
                self._proxy.passwords.append(self._client.ask(MD5, b"salt"))
                raise WrongPassword
            if self._proxy.impostor == "cleartext" or not endpoint:
                return self._ask_in_cleartext(verifier, endpoint)
            return self._ask_by_scram(verifier)
        except WrongPassword:
            raise Refused(f"password authentication failed for user '{user}'") from None

    def _endpoint(self) -> str:
        """Return the endpoint that the client names, or an empty string."""
        by_name = ""
        if self._server_name.endswith(DOMAIN):
            by_name = self._server_name.removesuffix(DOMAIN)
        by_option = ""
        for option in self._options():
            name, _, value = option.partition("=")
            if name in ENDPOINT_OPTIONS:
                by_option = value
        if by_name and by_option and by_name != by_option:
            raise Refused(INCONSISTENT.format(by_name, by_option))
        return by_name or by_option

    def _options(self) -> list[str]:
        return self._parameters.get("options", "").split()

    def _ask_in_cleartext(self, verifier: Verifier, endpoint: str) -> bytes:
        password = self._client.ask(CLEARTEXT).removesuffix(b"\0")
        self._proxy.passwords.append(password)
        if not endpoint:
            named = re.fullmatch(rb"(?:endpoint|project)=[^;$]*[;$](.*)", password)
            if not named:
                raise Refused(NO_ENDPOINT)
            password = named[1]
        client_key = verifier.client_key(password)
        self._client.write_authentication(OK)
        return client_key

    def _ask_by_scram(self, verifier: Verifier) -> bytes:
        mechanisms = b"SCRAM-SHA-256\0\0"
        if not self._proxy.impostor:
            mechanisms = b"SCRAM-SHA-256-PLUS\0" + mechanisms
        _, _, first = self._client.ask(SASL, mechanisms).partition(b"\0")
        challenge = Challenge(verifier, first[4:], self._certificate)
        client_final = self._client.ask(SASL_CONTINUE, challenge.message)
        self._refuse_at("in SCRAM")
        server_final, client_key = challenge.verify(client_final)
        self._client.write_authentication(SASL_FINAL, server_final)
        self._client.write_authentication(OK)  # is sent with what comes next, also with an error
        return client_key

    def _log_in(self, server: Connection, client_key: bytes) -> None:
        """Log in onward, and write to the client what the server says after that."""
        server.socket.sendall(self._startup())
        proof = Proof()
        kind = b""
        while kind != b"Z":
            try:
                kind, answer = server.read()
            except (OSError, EOFError):
                raise Refused(NO_COMPUTE) from None
            if kind == b"E":
                fields = {field[:1]: field[1:].decode() for field in answer.split(b"\0")}
                raise Refused(fields[b"M"])
            if kind != b"R":
                self._client.write(kind, answer)
            elif int.from_bytes(answer[:4]) == SASL:
                first = proof.message
                server.write(b"p", b"SCRAM-SHA-256\0" + len(first).to_bytes(4) + first)
                server.flush()
            elif int.from_bytes(answer[:4]) == SASL_CONTINUE:
                server.write(b"p", proof.answer(client_key, answer[4:]))
                server.flush()

    def _startup(self) -> bytes:
        """Return the first message onward, with the parameters that the proxy hands on."""
        onward = {"client_encoding": "UTF8"}
        for name in FORWARDED:
            if name in self._parameters:
                onward[name] = self._parameters[name]
        options = [o for o in self._options() if o.partition("=")[0] not in ENDPOINT_OPTIONS]
        if options:
            onward["options"] = " ".join(options)
        pairs = "".join(f"{name}\0{value}\0" for name, value in onward.items())
        message = VERSION_3 + pairs.encode() + b"\0"
        return (len(message) + 4).to_bytes(4) + message


def _forward(client: socket.socket, server: socket.socket) -> None:
    while True:
        for source in select.select([client, server], [], [])[0]:
            data = source.recv(65536)
            if not data:
                return
            target = server if source is client else client
            target.sendall(data)
