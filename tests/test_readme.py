"""What the README shows is what happens."""

import argparse
import json
import re
import shlex
from typing import Any

from tests.clients import Api
from tests.conftest import ROOT
from todo_api.settings import Settings

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(sh|http)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
CHANGING = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[0-9:.]+Z")


def _curl(command: str) -> argparse.Namespace:
    """A curl command's meaning, for the few options that the README uses."""
    parser = argparse.ArgumentParser(exit_on_error=True)
    parser.add_argument("url")
    parser.add_argument("-i", action="store_true", required=True)
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-X", dest="method")
    parser.add_argument("-d", dest="data")
    return parser.parse_args(shlex.split(command)[1:])


def test_each_curl_example_answers_as_shown(local_api: Api) -> None:
    """Proves every example: its status, the fields shown and the body, but for ids and times."""
    todo_id = ""
    answer: Any = None
    examples = 0
    for kind, text in BLOCKS:
        if kind == "sh":
            lines = [line for line in text.splitlines() if line.startswith("curl")]
            for line in lines:
                curl = _curl(line.replace("$ID", todo_id))
                headers = dict(header.split(": ", 1) for header in curl.headers)
                method = curl.method or ("POST" if curl.data else "GET")
                path = curl.url.removeprefix("http://127.0.0.1:8000")
                answer = local_api(method, path, headers=headers, body=curl.data)
                assert line is lines[-1] or answer.status < 300  # the last one's answer is shown below it
                todo_id = todo_id or answer.json()["id"]
                examples += 1
            continue
        head, _, body = text.partition("\n\n")
        status, *fields = head.splitlines()
        assert answer.status == int(status.split()[1])
        for field in fields:
            name, value = field.split(": ", 1)
            assert CHANGING.sub("*", answer.headers[name]) == CHANGING.sub("*", value)
        assert CHANGING.sub("*", answer.body.decode()) == CHANGING.sub("*", body.strip())
        if body:
            json.loads(body)
    assert examples == 9


def test_each_setting_is_in_the_readme_with_its_default() -> None:
    """Proves that the table of variables is complete and true."""
    table = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]*)\|", README, re.MULTILINE))
    for name, field in Settings.model_fields.items():
        shown = table.pop(name.upper()).strip().strip("`")
        default = "" if field.is_required() else str(field.default or "none")
        assert shown == default, name
    assert table == {}


def test_the_readme_names_every_module() -> None:
    """Proves that the layout in the README is the layout."""
    for path in [*(ROOT / "todo_api").glob("*.py"), ROOT / "handler.py"]:
        assert path.name == "__init__.py" or f"`{path.name}`" in README
