"""The authorizer of docs/extending/4-authorizer.patch, and a provider of keys and tokens for it."""

import importlib.util
import json
import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa

from dev import ROOT
from tests.support.http.clients import Response
from tests.support.http.http_server import serving

PATCH = ROOT / "docs/extending/4-authorizer.patch"

KEYS_PATH = "/somewhere/jwks"
ISSUER = "https://auth.example/realms/todo"
AUDIENCE = "https://todo.example"

NO_AUDIENCE = "it has no `aud`: ask the provider for an audience; in Keycloak"
OPAQUE = "it does not have three parts"
"""What the log says of a token that is refused."""

NEW_KEYS: dict[str, Callable[[], Any]] = {
    "RS256": lambda: generate_rsa(public_exponent=65537, key_size=2048),
    "ES256": lambda: generate_ec(SECP256R1()),
    "EdDSA": Ed25519PrivateKey.generate,
}
"""By signature algorithm: a function that makes a private key."""


def extract(folder: Path) -> Path:
    """Write the authorizer.py of the patch into a folder."""
    command = ["git", "apply", "--include=authorizer.py", str(PATCH)]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "authorizer.py"


def load(path: Path, monkeypatch: pytest.MonkeyPatch, keys_url: str, **settings: str) -> ModuleType:
    """Import authorizer.py anew, as a new instance of the function does."""
    environment = {"ISSUER": ISSUER, "AUDIENCE": AUDIENCE, "KEYS_URL": keys_url, **settings}
    for name in ("ISSUER", "AUDIENCE", "KEYS_URL", "ALGORITHMS"):
        monkeypatch.setenv(name, environment.get(name, ""))
    spec = importlib.util.spec_from_file_location("authorizer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def event(authorization: str) -> dict[str, Any]:
    """An event for a Lambda authorizer, payload 2.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html
    """
    return {
        "version": "2.0",
        "type": "REQUEST",
        "routeArn": "arn:aws:execute-api:eu-central-1:123456789012:abcdefghij/$default/GET/v1",
        "identitySource": [authorization],
        "routeKey": "ANY /v1/{proxy+}",
        "rawPath": "/v1/todos",
        "rawQueryString": "",
        "headers": {"authorization": authorization, "host": "todo.example"},
        "requestContext": {"http": {"method": "GET", "path": "/v1/todos"}, "stage": "$default"},
        "pathParameters": {"proxy": "todos"},
    }


def assert_refused(
    authorizer: ModuleType, authorization: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Check the answer, the reason in the log, and that nothing of the token is in the log."""
    caplog.clear()
    with caplog.at_level(logging.DEBUG):
        assert authorizer.handler(event(authorization), None) == {"isAuthorized": False}
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("authorizer", "WARNING")
    assert reason in record.getMessage()
    words = authorization.replace(".", " ").split(" ")[1:]
    assert not [word for word in words if len(word) > 3 and word in caplog.text]


class Provider:
    """An identity provider: it signs tokens, and publishes its keys on the loopback."""

    def __init__(self, *algorithms: str) -> None:
        self.private: dict[str, tuple[str, Any]] = {}
        self.fetches: list[str] = []
        self.answer: Callable[[], Response] = self.published
        self.url = ""
        for algorithm in algorithms:
            self.add_key(algorithm, algorithm)

    def add_key(self, key_id: str, algorithm: str = "EdDSA") -> None:
        """Make a key, and publish it from now on."""
        self.private[key_id] = (algorithm, NEW_KEYS[algorithm]())

    def published(self) -> Response:
        """The answer of a key server that works."""
        keys = []
        for key_id, (algorithm, private) in self.private.items():
            implementation: Any = jwt.get_algorithm_by_name(algorithm)
            key = implementation.to_jwk(private.public_key(), as_dict=True)
            keys.append(key | {"kid": key_id, "use": "sig", "alg": algorithm})
        return json_response({"keys": keys})

    def token(self, key_id: str, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """Sign a token with good claims, but for those that are given. None leaves a claim out."""
        now = int(time.time())
        good = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 300}
        payload = {name: value for name, value in (good | claims).items() if value is not None}
        algorithm, private = self.private[key_id]
        # Not with `encode` of jwt, which refuses a `sub` that is no string.
        return jwt.api_jws.encode(
            json.dumps(payload).encode(), private, algorithm, {"kid": key_id} | (headers or {})
        )

    @contextmanager
    def serving(self) -> Iterator["Provider"]:
        """Serve the keys."""

        def respond(_method: str, path: str, headers: dict[str, str], _body: bytes) -> Response:
            self.fetches.append(path)
            if headers["User-Agent"].startswith("Python-urllib"):
                return json_response({}, 403)  # as Auth0 did
            return self.answer()

        with serving(respond) as url:
            self.url = url + KEYS_PATH
            yield self


def json_response(content: object, status: int = 200) -> Response:
    """An answer of a key server."""
    return Response(status, {"content-type": "application/json"}, json.dumps(content).encode())


class Clock:
    """The monotonic clock of the authorizer and of PyJWT, which a test moves."""

    def __init__(self, authorizer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 0.0
        fake = SimpleNamespace(monotonic=lambda: time.monotonic() + self.passed)
        for module in (authorizer, jwt.jwks_client, jwt.api_jwk, jwt.jwk_set_cache):
            monkeypatch.setattr(module, "time", fake)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.passed += seconds
