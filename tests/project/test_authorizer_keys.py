"""The Lambda authorizer of docs/extending/4-authorizer.patch: how it fetches keys."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from types import ModuleType

import jwt
import pytest

from tests.support.aws.authorizer import (
    KEYS_PATH,
    Clock,
    Provider,
    assert_refused,
    event,
    json_response,
    load,
)
from tests.support.http.clients import Response

ACCEPTED = {"isAuthorized": True, "context": {"sub": "ada"}}
UNKNOWN_KEY = "no key has its `kid`"


@pytest.fixture
def issuer() -> Iterator[Provider]:
    """A provider with one key."""
    with Provider("EdDSA").serving() as issuer:
        yield issuer


@pytest.fixture
def authorizer(
    authorizer_path: Path, monkeypatch: pytest.MonkeyPatch, issuer: Provider
) -> ModuleType:
    """A new instance of the function, which trusts the provider."""
    return load(authorizer_path, monkeypatch, issuer.url)


@pytest.fixture
def clock(authorizer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The authorizer's clock."""
    return Clock(authorizer, monkeypatch)


def _ask(authorizer: ModuleType, token: str) -> object:
    return authorizer.handler(event(f"Bearer {token}"), None)


def _assert_unavailable(authorizer: ModuleType, token: str) -> None:
    """API Gateway answers an error of the authorizer with 500, and does not cache it."""
    with pytest.raises(authorizer.KeysUnavailable) as failure:
        _ask(authorizer, token)
    assert not [part for part in token.split(".") if part in str(failure.value)]


# --- keys that are there --------------------------------------------------------------------------


def test_keys_are_fetched_once_and_not_before_the_first_token(
    authorizer: ModuleType, issuer: Provider
) -> None:
    assert issuer.fetches == []
    for _ in range(5):
        assert _ask(authorizer, issuer.token("EdDSA")) == ACCEPTED
    assert issuer.fetches == [KEYS_PATH]


def test_each_token_is_verified_with_its_own_key_of_two(
    authorizer: ModuleType, issuer: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    issuer.add_key("second")
    assert _ask(authorizer, issuer.token("EdDSA")) == ACCEPTED
    assert _ask(authorizer, issuer.token("second")) == ACCEPTED
    crossed = issuer.token("EdDSA", {"kid": "second"})
    assert_refused(authorizer, f"Bearer {crossed}", "its signature does not match", caplog)


def test_300_tokens_with_unknown_keys_are_refused_with_one_fetch(
    authorizer: ModuleType, issuer: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(300):
        token = issuer.token("EdDSA", {"kid": f"unknown-{number}"})
        assert_refused(authorizer, f"Bearer {token}", UNKNOWN_KEY, caplog)
    assert issuer.fetches == [KEYS_PATH]


def test_new_key_is_refused_for_30_seconds_after_the_last_fetch_and_then_accepted(
    authorizer: ModuleType,
    issuer: Provider,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert _ask(authorizer, issuer.token("EdDSA")) == ACCEPTED
    issuer.add_key("rotated")
    token = issuer.token("rotated")
    assert_refused(authorizer, f"Bearer {token}", UNKNOWN_KEY, caplog)
    clock.advance(31)
    assert _ask(authorizer, token) == ACCEPTED
    assert _ask(authorizer, issuer.token("EdDSA")) == ACCEPTED
    assert len(issuer.fetches) == 2


def test_withdrawn_key_is_refused_after_300_seconds_at_the_latest(
    authorizer: ModuleType,
    issuer: Provider,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    token = issuer.token("EdDSA")
    assert _ask(authorizer, token) == ACCEPTED
    del issuer.private["EdDSA"]
    issuer.add_key("rotated")
    clock.advance(290)
    assert _ask(authorizer, token) == ACCEPTED
    clock.advance(11)
    assert_refused(authorizer, f"Bearer {token}", UNKNOWN_KEY, caplog)


def test_keys_for_encryption_and_unusable_ones_do_no_harm(
    authorizer: ModuleType, issuer: Provider
) -> None:
    keys = issuer.published().json()["keys"]
    encryption = keys[0] | {"kid": "encryption", "use": "enc"}
    unknown = keys[0] | {"kid": "EdDSA", "alg": "Ed25519"}  # RFC 9864, unknown to PyJWT
    issuer.answer = lambda: json_response({"keys": [encryption, unknown, "key", *keys]})
    assert _ask(authorizer, issuer.token("EdDSA")) == ACCEPTED


# --- keys that are not ----------------------------------------------------------------------------


def _redirect() -> Response:
    return Response(302, {"location": "/elsewhere"}, b"")


def _of_encryption() -> Response:
    with_key = Provider("RS256")
    (key,) = with_key.published().json()["keys"]
    return json_response({"keys": [key | {"use": "enc"}]})


NO_KEYS: dict[str, Callable[[], Response]] = {
    "HTML": lambda: Response(200, {"content-type": "text/html"}, b"<!doctype html><p>Sign in"),
    "an empty body": lambda: Response(200, {}, b""),
    "bytes that are no UTF-8": lambda: Response(200, {}, b'{"keys": "\xff"}'),
    "a list": lambda: json_response([]),
    "an object without keys": lambda: json_response({"issuer": "https://auth.example"}),
    "no key": lambda: json_response({"keys": []}),
    "keys that are no list": lambda: json_response({"keys": 5}),
    "keys that are no objects": lambda: json_response({"keys": ["a", 1, None]}),
    "only a key for encryption": _of_encryption,
    "a redirect": _redirect,
    "404": lambda: json_response({"keys": []}, 404),
    "500": lambda: json_response({}, 500),
}


@pytest.mark.parametrize("kind", NO_KEYS)
def test_key_server_without_keys_is_an_error_and_no_refusal(
    authorizer: ModuleType, issuer: Provider, kind: str
) -> None:
    issuer.answer = NO_KEYS[kind]
    for token in (
        issuer.token("EdDSA"),
        issuer.token("EdDSA", {"kid": "unknown"}),
    ):
        _assert_unavailable(authorizer, token)


def test_key_server_that_is_down_is_an_error(
    authorizer_path: Path, monkeypatch: pytest.MonkeyPatch, issuer: Provider
) -> None:
    with socket.socket() as reserved:  # bound, and not listening
        reserved.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/jwks"
        authorizer = load(authorizer_path, monkeypatch, url)
        _assert_unavailable(authorizer, issuer.token("EdDSA"))


def test_slow_key_server_is_an_error_before_lambda_ends_the_function(
    authorizer: ModuleType, issuer: Provider
) -> None:
    end = Event()

    def wait() -> Response:
        end.wait(30)
        return issuer.published()

    issuer.answer = wait
    assert authorizer.KEYS.timeout == 3
    authorizer.KEYS.timeout = 0.1
    try:
        _assert_unavailable(authorizer, issuer.token("EdDSA"))
    finally:
        end.set()


def test_300_tokens_cause_one_fetch_while_fetching_fails_and_the_next_follows_after_a_pause(
    authorizer: ModuleType, issuer: Provider, clock: Clock
) -> None:
    issuer.answer = NO_KEYS["500"]
    for number in range(300):
        _assert_unavailable(authorizer, issuer.token("EdDSA", {"kid": f"unknown-{number}"}))
    assert len(issuer.fetches) == 1
    issuer.answer = issuer.published
    clock.advance(4)
    _assert_unavailable(authorizer, issuer.token("EdDSA"))
    clock.advance(2)
    assert _ask(authorizer, issuer.token("EdDSA")) == ACCEPTED
    assert len(issuer.fetches) == 2


def test_tokens_with_known_keys_are_accepted_while_the_key_server_is_down(
    authorizer: ModuleType, issuer: Provider, clock: Clock
) -> None:
    assert _ask(authorizer, issuer.token("EdDSA")) == ACCEPTED
    issuer.answer = NO_KEYS["HTML"]
    clock.advance(31)
    for _ in range(5):
        _assert_unavailable(authorizer, issuer.token("EdDSA", {"kid": "unknown"}))
        assert _ask(authorizer, issuer.token("EdDSA")) == ACCEPTED
    assert len(issuer.fetches) == 2
    clock.advance(300)
    _assert_unavailable(authorizer, issuer.token("EdDSA"))


def test_key_of_another_url_scheme_stops_the_start(
    authorizer_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(jwt.PyJWKClientError, match="scheme"):
        load(authorizer_path, monkeypatch, "file:///etc/hostname")
