"""A body of an unsupported type or encoding is a 415 that says what to send instead."""

import gzip

import pytest

from tests.support.http.assertions import assert_problem
from tests.support.http.users import User

ALL = "/v1/todos"
BODY = b'{"title": "x"}'


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


def test_at_most_20_errors_are_reported(alice: User) -> None:
    fields = ", ".join(f'"a{number}": 1' for number in range(5_000))
    response = alice("POST", ALL, body=f"{{{fields}}}".encode())
    errors = assert_problem(response, 422)["errors"]
    assert [error["field"] for error in errors] == ["title", *(f"a{n}" for n in range(19))]
