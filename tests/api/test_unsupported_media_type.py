"""A body of an unsupported type or encoding is a 415 that says what to send instead."""

import gzip

import pytest

from tests.support.http.assertions import assert_problem
from tests.support.http.users import User

ALL = "/v1/todos"
BODY = b'{"title": "x"}'


@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json"],
)
def test_missing_or_unsupported_media_type_is_rejected(alice: User, media_type: str) -> None:
    for method, path in [("POST", ALL), ("PUT", alice.first_path), ("PATCH", alice.first_path)]:
        response = alice(method, path, body=BODY, headers={"Content-Type": media_type})
        assert_problem(response, 415)
        accepted = "application/json, application/merge-patch+json" if method == "PATCH" else None
        assert response.headers.get("accept-patch") == accepted  # RFC 5789, section 2.2
    merge_patch = {"Content-Type": "application/merge-patch+json"}  # only PATCH accepts it
    assert_problem(alice("POST", ALL, body=BODY, headers=merge_patch), 415)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json; charset=utf-8",
        "application/json ;charset=utf-8",  # RFC 9110, section 5.6.6
        "Application/JSON",
        "application/json;",
    ],
)
def test_parameters_and_case_of_the_media_type_are_ignored(alice: User, media_type: str) -> None:
    content_type = {"Content-Type": media_type}
    assert alice("POST", ALL, body=BODY, headers=content_type).status == 201


def test_unsupported_media_type_names_the_supported_ones(alice: User) -> None:
    text = {"Content-Type": "text/plain"}
    for method, path in [("POST", ALL), ("PUT", alice.first_path), ("PATCH", alice.first_path)]:
        problem = assert_problem(alice(method, path, body=BODY, headers=text), 415)
        assert problem["detail"] == (
            "Send the body as application/json, and without a Content-Encoding. "
            "PATCH also accepts application/merge-patch+json."
        )


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "identity, gzip", "unknown"])
def test_an_encoded_body_is_refused_as_such(alice: User, encoding: str) -> None:
    headers = {"Content-Encoding": encoding}
    body = gzip.compress(BODY)
    for method, path in [("POST", ALL), ("PUT", alice.first_path), ("PATCH", alice.first_path)]:
        response = alice(method, path, body=body, headers=headers)
        assert_problem(response, 415)
        assert response.headers["accept-encoding"] == "identity"
        assert "accept-patch" not in response.headers
    assert alice.list() == [alice.todos[1], alice.todos[0]]


def test_the_encoding_identity_and_that_of_no_body_do_not_matter(alice: User) -> None:
    identity = {"Content-Encoding": "Identity"}
    assert alice("POST", ALL, body=BODY, headers=identity).status == 201
    encoded = {"Content-Encoding": "gzip"}
    assert_problem(alice("POST", ALL, body=b"", headers=encoded), 400)
    assert alice("POST", f"{alice.first_path}/toggle", body=b"x", headers=encoded).status == 200
