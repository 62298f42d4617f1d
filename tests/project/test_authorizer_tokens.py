"""The Lambda authorizer of docs/extending/4-authorizer.patch: the tokens that it accepts."""

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.aws.authorizer import (
    AUDIENCE,
    ISSUER,
    KEYS_PATH,
    NO_AUDIENCE,
    OPAQUE,
    Provider,
    assert_refused,
    event,
    load,
)
from todo_api.api import identity


@pytest.fixture
def authorizer(
    authorizer_path: Path, monkeypatch: pytest.MonkeyPatch, provider: Provider
) -> ModuleType:
    """A new instance of the function, which trusts the provider."""
    return load(authorizer_path, monkeypatch, provider.url)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_good_token_names_its_user(
    authorizer: ModuleType, provider: Provider, algorithm: str, scheme: str
) -> None:
    answer = authorizer.handler(event(f"{scheme} {provider.token(algorithm)}"), None)
    assert answer == {"isAuthorized": True, "context": {"sub": "ada"}}
    assert set(provider.fetches) == {KEYS_PATH}  # no discovery


def test_user_ids_follow_the_rule_of_the_api(authorizer: ModuleType, provider: Provider) -> None:
    visible = "".join(map(chr, range(0x21, 0x7F)))
    for sub in ("1", visible, "~" * 255):
        answer = authorizer.handler(event(f"Bearer {provider.token('EdDSA', sub=sub)}"), None)
        assert answer["context"] == {"sub": sub}
    assert authorizer.USER_ID.pattern == identity._USER_ID.pattern


NOW = int(datetime.now(UTC).timestamp())

REFUSED_CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"exp": NOW - 60}, "it has expired"),
    ({"exp": "soon"}, "it is malformed"),
    ({"nbf": NOW + 3600}, "in the future"),
    ({"iat": NOW + 3600}, "in the future"),
    ({"aud": "https://other.example"}, "its `aud` holds nothing of AUDIENCE"),
    ({"aud": AUDIENCE + "/"}, "its `aud` holds nothing of AUDIENCE"),
    ({"aud": ["https://other.example", "account"]}, "its `aud` holds nothing of AUDIENCE"),
    ({"aud": 5}, "its `aud` holds nothing of AUDIENCE"),
    ({"aud": []}, NO_AUDIENCE),
    ({"iss": "https://auth.example/realms/other"}, "its `iss` is not exactly ISSUER"),
    ({"iss": "https://auth.example"}, "its `iss` is not exactly ISSUER"),
    ({"iss": ISSUER + "/"}, "its `iss` is not exactly ISSUER"),
    ({"iss": [ISSUER]}, "its `iss` is not exactly ISSUER"),
    ({"exp": None}, "it has no `exp`"),
    ({"iss": None}, "it has no `iss`"),
    ({"aud": None}, NO_AUDIENCE),
    ({"sub": None}, "it has no `sub`: in Keycloak"),
    *(({"sub": sub}, "its `sub` is not 1 to 255") for sub in ("", "x" * 256, "a b", "ünï", 7)),
    *(({"sub": sub}, "its `sub` is not 1 to 255") for sub in ("ada\n", ["ada"], "x" * 300)),
]


@pytest.mark.parametrize(("claims", "reason"), REFUSED_CLAIMS, ids=range(len(REFUSED_CLAIMS)))
def test_token_with_other_claims_is_refused(
    authorizer: ModuleType,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
    claims: dict[str, Any],
    reason: str,
) -> None:
    for algorithm in ("RS256", "ES256", "EdDSA"):
        token = provider.token(algorithm, **claims)
        assert_refused(authorizer, f"Bearer {token}", reason, caplog)


def test_issuer_with_a_slash_at_the_end_needs_it(
    authorizer_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
) -> None:
    authorizer = load(authorizer_path, monkeypatch, provider.url, ISSUER=ISSUER + "/")
    with_slash = provider.token("EdDSA", iss=ISSUER + "/")
    assert authorizer.handler(event(f"Bearer {with_slash}"), None)["isAuthorized"] is True
    without = provider.token("EdDSA")
    assert_refused(authorizer, f"Bearer {without}", "its `iss` is not exactly ISSUER", caplog)


def test_clocks_may_differ_by_some_seconds(authorizer: ModuleType, provider: Provider) -> None:
    now = int(datetime.now(UTC).timestamp())
    early = provider.token("EdDSA", iat=now + 5, nbf=now + 5)
    late = provider.token("EdDSA", exp=now - 5)
    assert 5 < authorizer.LEEWAY_SECONDS <= 30
    for token in (early, late):
        assert authorizer.handler(event(f"Bearer {token}"), None)["isAuthorized"] is True


def _part(content: object) -> str:
    return urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def _resigned(provider: Provider, algorithm: str, secret: bytes, key_id: str) -> str:
    """A token whose signature is an HMAC with a key that everybody knows."""
    _, payload, _ = provider.token(key_id).split(".")
    signed = f"{_part({'alg': algorithm, 'kid': key_id})}.{payload}"
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{urlsafe_b64encode(digest).decode().rstrip('=')}"


def _changed(provider: Provider) -> str:
    header, payload, signature = provider.token("ES256").split(".")
    claims = json.loads(urlsafe_b64decode(payload + "=="))
    return f"{header}.{_part(claims | {'sub': 'mallory'})}.{signature}"


def _public_pem(provider: Provider) -> bytes:
    public = provider.private["RS256"][1].public_key()
    pem: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


FORGED: dict[str, tuple[Callable[[Provider], str], str]] = {
    "a changed payload": (_changed, "its signature does not match"),
    "another key's signature": (
        lambda provider: provider.token("EdDSA", {"kid": "ES256"}),
        "its `alg` is not in ALGORITHMS, or not its key's",
    ),
    "alg none": (
        lambda _: f"{_part({'alg': 'none', 'kid': 'RS256'})}.{_part({'sub': 'mallory'})}.",
        "its `alg` is not in ALGORITHMS",
    ),
    "HS256 with the public key": (
        lambda provider: _resigned(provider, "HS256", _public_pem(provider), "RS256"),
        "its `alg` is not in ALGORITHMS",
    ),
    "an unknown key id": (
        lambda provider: provider.token("RS256", {"kid": "unknown-key-id"}),
        "no key has its `kid`",
    ),
    "a key id that is no string": (
        lambda _: f"{_part({'alg': 'RS256', 'kid': 5})}.{_part({'sub': 'mallory'})}.eA",
        "it is malformed",
    ),
    "an empty key id": (lambda provider: provider.token("RS256", {"kid": ""}), "has no `kid`"),
    "an unknown critical header": (
        lambda provider: provider.token("RS256", {"crit": ["exp"], "exp": 1}),
        "it is malformed",
    ),
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_token_is_refused(
    authorizer: ModuleType, provider: Provider, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    forge, reason = FORGED[kind]
    assert_refused(authorizer, f"Bearer {forge(provider)}", reason, caplog)


GARBAGE = ["", "x", "...", "..", "a.b.c", f"{'[' * 9000}.e30.e30", "ünï.cö.de", "\x00.\x00.\x00"]


@pytest.mark.parametrize("token", [*GARBAGE, f"{_part([])}.e30.x"], ids=range(len(GARBAGE) + 1))
def test_garbage_is_refused(
    authorizer: ModuleType, caplog: pytest.LogCaptureFixture, token: str
) -> None:
    assert_refused(authorizer, f"Bearer {token}", "Token refused: it ", caplog)


def test_deeply_nested_header_is_refused(
    authorizer: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    nested = urlsafe_b64encode(b'{"alg":' + b"[" * 7000).decode()
    assert_refused(authorizer, f"Bearer {nested}.e30.e30", "it is malformed", caplog)


def test_only_one_bearer_token_is_accepted(
    authorizer: ModuleType, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    token = provider.token("EdDSA")
    for header in (token, f"Basic {token}", f"Bearer  {token}", ""):
        assert_refused(authorizer, header, "Token refused: ", caplog)
    two = f"Bearer {token},Bearer {token}"  # as an HTTP API joins two header fields
    assert_refused(authorizer, two, OPAQUE, caplog)


def test_algorithms_are_a_setting_and_never_the_tokens_choice(
    authorizer_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
) -> None:
    authorizer = load(authorizer_path, monkeypatch, provider.url, ALGORITHMS="EdDSA,ES256")
    assert authorizer.handler(event(f"Bearer {provider.token('ES256')}"), None)["isAuthorized"]
    rsa = f"Bearer {provider.token('RS256')}"
    assert_refused(authorizer, rsa, "its `alg` is not in ALGORITHMS", caplog)


@pytest.mark.parametrize("algorithms", ["HS256", "RS256,HS512", "none", "RS256,", "rs256"])
def test_unsafe_algorithms_stop_the_start(
    authorizer_path: Path, monkeypatch: pytest.MonkeyPatch, algorithms: str
) -> None:
    with pytest.raises(ValueError, match="ALGORITHMS has to list"):
        load(authorizer_path, monkeypatch, "https://auth.example/jwks", ALGORITHMS=algorithms)


@pytest.mark.parametrize("name", ["ISSUER", "AUDIENCE", "KEYS_URL"])
def test_missing_setting_stops_the_start(
    authorizer_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with pytest.raises(ValueError, match=f"{name} is not set"):
        load(authorizer_path, monkeypatch, "https://auth.example/jwks", **{name: ""})


def test_one_of_several_audiences_is_enough(
    authorizer_path: Path, monkeypatch: pytest.MonkeyPatch, provider: Provider
) -> None:
    authorizer = load(authorizer_path, monkeypatch, provider.url, AUDIENCE="web-app,mobile-app")
    for audience in ("web-app", ["account", "mobile-app"]):
        token = provider.token("EdDSA", aud=audience)
        assert authorizer.handler(event(f"Bearer {token}"), None)["isAuthorized"] is True
