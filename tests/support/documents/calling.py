"""The code of docs/calling.md: its blocks, and the clients beside it."""

import json
import os
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

from dev import ROOT
from tests.support.documents.pages import ADDRESS, Relay, blocks, relay
from tests.support.http.clients import Response
from tests.support.http.users import User
from tests.support.machine import NODE_TOOLS

PAGE = ROOT / "docs" / "calling.md"
FETCH = ROOT / "docs" / "client.ts"
HTTPX = ROOT / "docs" / "client.py"
BLOCKS = blocks(PAGE)
SHOWN_503, SHOWN_504, SHOWN_GATEWAY = [
    text
    for (before, _), (language, text) in pairwise(BLOCKS)
    if language == "http" and before != "sh"
]
"""The responses that follow no command: the 503 and the 504, and one of API Gateway's own
responses."""

PROBLEM = "urn:todo-api:problem:"
TYPESCRIPT_OPTIONS = [
    *("--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--noUnusedLocals"),
    *("--noImplicitReturns", "--skipLibCheck"),
    "--erasableSyntaxOnly",  # so that Node.js runs it as it is
    *("--target", "es2022", "--module", "es2022", "--lib", "es2022,dom"),
]


class TypeScriptModule:
    """docs/client.ts, compiled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "page.ts").write_text(FETCH.read_text())
        self._run(str(NODE_TOOLS / "tsc"), *TYPESCRIPT_OPTIONS, "page.ts")
        self._code = (folder / "page.js").read_text()
        assert self._code.count(ADDRESS) == self._code.count('"ada"') == 1

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=os.environ | {"NO_PROXY": "*"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, user: User, script: str, *own_responses: Response) -> tuple[Any, Relay]:
        """Run a script that uses the module as `page`, and ADDRESS as the API's address.

        Returns its result and the relay with its requests.
        """
        program = f"""
            import * as page from "./page.mjs";
            const thrown = (promise) => promise.then(() => null, (error) => error);
            const result = await (async () => {{ {script} }})();
            console.log(JSON.stringify(result));
        """
        with relay(user.api, *own_responses) as server:
            code = self._code.replace(ADDRESS, server.url).replace('"ada"', json.dumps(user.id))
            (self._folder / "page.mjs").write_text(code)
            program = program.replace(ADDRESS, server.url)
            return json.loads(self._run("node", "--input-type=module", "--eval", program)), server
