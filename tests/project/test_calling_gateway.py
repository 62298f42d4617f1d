"""docs/calling.md when API Gateway responds itself."""

from dataclasses import replace

import pytest

from tests.support.documents.calling import PAGE, SHOWN_GATEWAY, TypeScriptModule
from tests.support.documents.pages import shown
from tests.support.http.clients import Response
from tests.support.http.users import User

pytestmark = pytest.mark.slow

AS_A_BROWSER = """
    const plain = globalThis.fetch;
    globalThis.fetch = async (url, options) => {
      const origin = "https://app.example";
      const headers = { ...options.headers, Origin: origin };
      const response = await plain(url, { ...options, headers });
      const allowed = response.headers.get("Access-Control-Allow-Origin");
      if (allowed !== origin) throw new TypeError("Failed to fetch");
      return response;
    };
"""
"""Makes `fetch` fail like a browser's if the response does not allow the page's origin."""


def _gateway_response(status: int) -> Response:
    """Return the response that the page shows, with another status.

    API Gateway's 413 is plain text.
    """
    response = replace(shown(SHOWN_GATEWAY), status=status)
    return replace(response, body=b"Too large") if status == 413 else response


@pytest.mark.node
@pytest.mark.parametrize("prelude", ["", AS_A_BROWSER], ids=["Node.js", "browser"])
def test_create_is_retried_after_gateway_errors(
    module: TypeScriptModule, dora: User, prelude: str
) -> None:
    script = prelude + 'return page.create("k-2", { title: "once" })'
    found, server = module.run(dora, script, _gateway_response(503), _gateway_response(429))
    assert server.seen("Idempotency-Key") == [
        ("POST", "/v1/todos", status, "k-2") for status in (503, 429, 201)
    ]
    assert dora.list() == [found]


@pytest.mark.node
def test_outcome_of_gateway_errors_is_as_in_the_table_and_unknown_in_a_browser(
    module: TypeScriptModule, dora: User
) -> None:
    page = PAGE.read_text()
    section = page.partition("## What API Gateway answers itself\n")[2].partition("\n## ")[0]
    rows = [
        line.strip("|").split("|")
        for line in section.splitlines()
        if line.startswith("| ") and "status" not in line
    ]
    table = {
        int(status): row[-1].split(";")[0].strip() for row in rows for status in row[0].split(",")
    }
    assert set(table) == {401, 403, 413, 429, 500, 502, 503, 504}
    script = f"""
        const ask = async () => {{
          const errors = [];
          for (let i = 0; i < {len(table)}; i++) {{
            errors.push(await thrown(page.send("GET", "/v1/todos")));
          }}
          return errors;
        }};
        const shown = (error) => [error.status, error.type, page.outcome(error)];
        const readable = (await ask()).map(shown);
        {AS_A_BROWSER}
        return [readable, (await ask()).map((error) => [error.name, page.outcome(error)])];
    """
    responses = [_gateway_response(status) for status in table]
    (readable, hidden), _ = module.run(dora, script, *responses * 2)
    for status, kind, outcome in readable:
        assert kind == "about:blank"
        assert outcome == (
            "refused" if status in (401, 403, 413) else table[status].replace(" ", "-")
        )
    assert [status for status, *_ in readable] == list(table)
    assert hidden == [["TypeError", "unknown"]] * len(table)
