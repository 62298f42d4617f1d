"""docs/calling.md when the caller does not want to wait any longer."""

import json

import pytest

from tests.support.documents.calling import BLOCKS, SHOWN_GATEWAY, TypeScriptModule
from tests.support.documents.pages import ADDRESS, shown
from tests.support.http.users import User
from tests.support.machine import NODE_TOOLS

pytestmark = pytest.mark.node

(AXIOS,) = [text for language, text in BLOCKS if language == "js" and "axios.create" in text]
AXIOS_API, _, AXIOS_CREATE = AXIOS.partition("const created = ")


def _axios_api(user: User) -> str:
    """Return the page's `api`, with what it needs."""
    module = (NODE_TOOLS.parent / "axios" / "index.js").as_uri()
    return f"""
        const {{ default: axios }} = await import({module!r});
        const API = {ADDRESS!r};
        const CALLER = {json.dumps({"X-User-Id": user.id})};
        {AXIOS_API}
    """


ABORTED_IN_THE_PAUSE = """
    const caller = new AbortController();
    const plain = globalThis.setTimeout;
    globalThis.setTimeout = (next, milliseconds) =>
        milliseconds < 2000 ? setImmediate(() => caller.abort()) : plain(next, milliseconds);
"""
"""Makes the pause after the first try endless, until the caller aborts."""


def test_a_signal_ends_the_pause_between_tries(module: TypeScriptModule, dora: User) -> None:
    script = f"""
        {ABORTED_IN_THE_PAUSE}
        const attempt = () => Promise.reject(new TypeError("no network"));
        return (await thrown(page.retry(attempt, undefined, caller.signal))).name;
    """
    found, _ = module.run(dora, script)
    assert found == "AbortError"


def test_a_request_ends_with_the_callers_signal_and_after_35_seconds(
    module: TypeScriptModule, dora: User
) -> None:
    script = """
        const send = (signal) => page.send("GET", "/v1/todos", {}, undefined, signal);
        const caller = new AbortController();
        const inTime = (await send(caller.signal)).status;
        const ended = await thrown(send(AbortSignal.abort(new Error("by the caller"))));
        AbortSignal.timeout = (limit) => AbortSignal.abort(new Error(`after ${limit} ms`));
        const late = [await thrown(send()), await thrown(send(caller.signal))];
        return [inTime, ...[ended, ...late].map((error) => error?.message)];
    """
    found, _ = module.run(dora, script)
    assert found == [200, "by the caller", "after 35000 ms", "after 35000 ms"]


@pytest.mark.slow
def test_axios_retries_a_create_with_its_key_and_creates_one_todo(
    module: TypeScriptModule, dora: User
) -> None:
    script = f"const created = {AXIOS_CREATE} return created.data;"
    found, server = module.run(dora, _axios_api(dora) + script, shown(SHOWN_GATEWAY))
    (failed, sent) = server.seen("Idempotency-Key")
    assert failed[:3] == ("POST", "/v1/todos", 503)
    assert sent == ("POST", "/v1/todos", 201, failed[3])
    assert dora.list() == [found]


def test_axios_does_not_repeat_what_the_caller_cancels(
    module: TypeScriptModule, dora: User
) -> None:
    script = """
        const error = await thrown(api.get("/v1/todos", { signal: AbortSignal.abort() }));
        return [error.name, error.config.tries ?? 0];
    """
    found, _ = module.run(dora, _axios_api(dora) + script)
    assert found == ["CanceledError", 0]


def test_axios_ends_the_pause_between_tries_when_the_caller_cancels(
    module: TypeScriptModule, dora: User
) -> None:
    script = f"""
        {ABORTED_IN_THE_PAUSE}
        return (await thrown(api.get("/v1/todos", {{ signal: caller.signal }}))).name;
    """
    found, server = module.run(dora, _axios_api(dora) + script, shown(SHOWN_GATEWAY))
    assert found == "CanceledError"
    assert server.seen() == [("GET", "/v1/todos", 503)]
