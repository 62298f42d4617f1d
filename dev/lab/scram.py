"""SCRAM-SHA-256 as Neon's proxy does it: with the client first, and then onward without a password.

The proxy learns a key from the client's proof, and the server behind it accepts the same key
(RFC 5802, section 3). Of the libraries, `scramp` refuses libpq's empty user name, and the single
iteration with which our PostgreSQL stores its passwords.
"""

import hashlib
import hmac
import secrets
from base64 import b64decode, b64encode
from typing import NamedTuple

BOUND = b"p=tls-server-end-point,,"
UNBOUND = b"n,,"


class WrongPassword(Exception):
    """The client's proof does not belong to the role's password, or to the certificate."""


class Verifier(NamedTuple):
    """What PostgreSQL stores instead of a role's password."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    def client_key(self, password: bytes) -> bytes:
        """Return the key of a client with the role's password.

        Raises:
            WrongPassword: it is another password.
        """
        salted = hashlib.pbkdf2_hmac("sha256", password, self.salt, self.iterations)
        key = _sign(salted, b"Client Key")
        if not self.fits(key):
            raise WrongPassword
        return key

    def fits(self, client_key: bytes) -> bool:
        """Return whether a client with this key has the role's password."""
        return hashlib.sha256(client_key).digest() == self.stored_key


def verifier_of(secret: str) -> Verifier:
    """Read a password as the system catalog `pg_authid` holds it."""
    _, parameters, keys = secret.split("$")
    iterations, salt = parameters.split(":")
    stored_key, server_key = keys.split(":")
    return Verifier(int(iterations), b64decode(salt), b64decode(stored_key), b64decode(server_key))


def verifier_of_nobody() -> Verifier:
    """Return one that no password fits, so that an unknown role looks like a known one."""
    return Verifier(4096, *(secrets.token_bytes(32) for _ in range(3)))


class Challenge:
    """The server's side of one exchange."""

    def __init__(self, verifier: Verifier, client_first: bytes, certificate: bytes) -> None:
        """Answer the client's first message with `message`.

        Args:
            verifier: that of the role's password.
            client_first: the client's first message.
            certificate: the server's, in DER, to which channel binding ties the exchange.
        """
        self._verifier = verifier
        flag, name, self._client_first = client_first.split(b",", 2)
        header = flag + b"," + name + b","
        # https://www.rfc-editor.org/rfc/rfc5929#section-4
        data = hashlib.sha256(certificate).digest() if header == BOUND else b""
        self._binding = b64encode(header + data)
        nonce = self._client_first.rpartition(b"r=")[2] + secrets.token_hex(12).encode()
        salt = b64encode(verifier.salt)
        self.message = b"r=%s,s=%s,i=%d" % (nonce, salt, verifier.iterations)

    def verify(self, client_final: bytes) -> tuple[bytes, bytes]:
        """Return the server's last message, and the client's key.

        Raises:
            WrongPassword: the proof is wrong.
        """
        without_proof, _, proof = client_final.rpartition(b",p=")
        exchange = b",".join([self._client_first, self.message, without_proof])
        client_key = _xor(b64decode(proof), _sign(self._verifier.stored_key, exchange))
        is_bound = without_proof.startswith(b"c=" + self._binding + b",")
        if not is_bound or not self._verifier.fits(client_key):
            raise WrongPassword
        return b"v=" + b64encode(_sign(self._verifier.server_key, exchange)), client_key


class Proof:
    """The client's side of one exchange, with the client's key instead of its password."""

    def __init__(self) -> None:
        """Begin the exchange with `message`."""
        self._client_first = b"n=,r=" + secrets.token_hex(12).encode()
        self.message = UNBOUND + self._client_first

    def answer(self, client_key: bytes, server_first: bytes) -> bytes:
        """Return the client's last message."""
        nonce = server_first.partition(b",")[0]
        without_proof = b"c=" + b64encode(UNBOUND) + b"," + nonce
        exchange = b",".join([self._client_first, server_first, without_proof])
        signature = _sign(hashlib.sha256(client_key).digest(), exchange)
        return without_proof + b",p=" + b64encode(_xor(client_key, signature))


def _sign(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(left ^ right for left, right in zip(one, other, strict=True))
