"""The Lambda authorizer of docs/extending/4-authorizer.patch, and tokens of real providers."""

import json
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support.aws.authorizer import (
    AUDIENCE,
    ISSUER,
    NO_AUDIENCE,
    OPAQUE,
    assert_refused,
    event,
    json_response,
    load,
)
from tests.support.http.http_server import serving

RECORDS: dict[str, dict[str, Any]] = {
    record["name"]: record
    for record in json.loads((Path(__file__).parent / "identity_providers.json").read_text())
}
"""Tokens and keys of real providers, run on 28 November 2026, with users made for it."""


VERDICTS: dict[str, str | tuple[None, str]] = {
    "better-auth-default": "PGbIFAFj0yWgZxn79XxFuddLoXlNrxtz",
    "better-auth-no-baseurl": "pm39faXMKN3iBGs5InEMaGM4iWFStc2N",
    "better-auth-oauth-provider-user-access": "0Ucztp9dL9sqYHjWZ674U1yILOUlrqXk",
    "better-auth-rs256": "aZHdA1ve1yNjglRxlGMMCv5tbZ8GOW6X",
    "dex-id-token": "CiQwOGE4Njg0Yi1kYjg4LTRiNzMtOTBhOS0zY2QxNjYxZjU0NjYSBWxvY2Fs",
    "django-oauth-toolkit-id-token": "1",
    "fastapi-users-hs256": (None, "header has no `kid`"),
    "hydra-no-audience-asked": (None, NO_AUDIENCE),
    "hydra-user-access": "alice@example.com",
    "keycloak-audience-mapper": "266c4ac6-712c-4746-805c-d5590504e826",
    "keycloak-default-access": "266c4ac6-712c-4746-805c-d5590504e826",
    "keycloak-id-token": "266c4ac6-712c-4746-805c-d5590504e826",
    "keycloak-lightweight": (None, NO_AUDIENCE),
    "keycloak-rotated-rsa": "266c4ac6-712c-4746-805c-d5590504e826",
    "keycloak-service-account": "6a5f9c65-68dd-412c-9442-c0d982d4f46f",  # a machine's
    "oidc-provider-ES256-user-access": "alice",
    "oidc-provider-EdDSA-user-access": "alice",
    "oidc-provider-RS256": "todo",  # a machine's: the client's id
    "oidc-provider-opaque": (None, OPAQUE),
    "openauth-access": "user:85290b7e8cb51db9",
    "spring-authorization-server-user-access": "alice@example.com",
    "zitadel-oidc-library-opaque": (None, OPAQUE),
}
"""By record: the user id, or None and the reason in the log."""


@pytest.mark.parametrize("name", RECORDS)
def test_token_of_each_provider_names_its_user_or_the_log_says_why_not(
    authorizer_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    record = RECORDS[name]

    class AtMinting(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "AtMinting":
            return cls.fromtimestamp(record["minted_at"] or 0, tz)

    monkeypatch.setattr(jwt.api_jwt, "datetime", AtMinting)
    settings = {"ISSUER": record["issuer"] or ISSUER, "AUDIENCE": record["audience"] or AUDIENCE}
    keys = record["keys"] or RECORDS["openauth-access"]["keys"]
    with serving(lambda *_: json_response(keys)) as url:
        authorizer = load(authorizer_path, monkeypatch, url, **settings)
        verdict = VERDICTS[name]
        if isinstance(verdict, tuple):
            assert_refused(authorizer, f"Bearer {record['token']}", verdict[1], caplog)
        else:
            answer = authorizer.handler(event(f"Bearer {record['token']}"), None)
            assert answer == {"isAuthorized": True, "context": {"sub": verdict}}
