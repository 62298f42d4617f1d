"""The page /docs."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urljoin

import pytest

from dev.lab.events import rest_api_event
from tests.support.documents.openapi import DOCUMENT
from tests.support.http.clients import Api, Response, invoke
from tests.support.machine import CHROMIUM, CHROMIUM_OPTIONS


def _through_a_rest_api(method: str, path: str) -> Response:
    return invoke(rest_api_event(method, path, {}, None))


def test_docs_find_the_document_at_the_root_behind_a_stage_and_below_a_base_path(
    lambda_api: Api, local_api: Api
) -> None:
    for call in (lambda_api, local_api, _through_a_rest_api):
        assert call("GET", "/openapi.json").json() == DOCUMENT
        response = call("GET", "/docs")
        page = response.body.decode()
        assert (response.status, response.headers["content-type"]) == (
            200,
            "text/html; charset=utf-8",
        )
        (link,) = re.findall('href="(openapi[^"]*)"', page)
        (fetched,) = re.findall(r'fetch\("(.*)"\)', page)
        (base_url,) = re.findall(r'new URL\("(.*)", location\)', page)
        for base in (
            "http://127.0.0.1:8000/",
            "https://api.example/dev/",
            "https://api.example/a/b/",
        ):
            assert urljoin(f"{base}docs", link) == f"{base}openapi.json"
            assert urljoin(f"{base}docs", fetched) == f"{base}openapi.json"
            assert urljoin(f"{base}docs", base_url) == base
    missing = ("/docs/oauth2-redirect", "/redoc")
    assert [lambda_api("GET", path).status for path in missing] == [404, 404]


def test_docs_load_one_version_of_swagger_ui_and_check_its_hashes(lambda_api: Api) -> None:
    page = lambda_api("GET", "/docs").body.decode()
    external = re.findall("<(?:script|link)[^>]*https:[^>]*>", page)
    assert len(external) == page.count("https:") == 2
    for tag in external:
        assert re.search(r'"https://cdn\.jsdelivr\.net/npm/swagger-ui-dist@\d+\.\d+\.\d+/', tag)
        assert re.search(r'integrity="sha384-[A-Za-z0-9+/]{64}" crossorigin="anonymous"', tag)


def test_docs_keep_credentials_only_on_the_local_server(lambda_api: Api) -> None:
    page = lambda_api("GET", "/docs").body.decode()
    (hosts,) = re.findall(r"persistAuthorization: (.*)\.includes\(location\.hostname\)", page)
    assert hosts == '["127.0.0.1", "localhost", "[::1]"]'


@pytest.mark.browser
def test_docs_say_so_where_swagger_ui_cannot_be_loaded(local_port: int, tmp_path: Path) -> None:
    command = [str(CHROMIUM), *CHROMIUM_OPTIONS, f"--user-data-dir={tmp_path}", "--dump-dom"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    page = subprocess.run(
        [*command, f"http://127.0.0.1:{local_port}/docs"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    text = " ".join(re.sub("<[^>]*>", "", page).split())
    assert "needs Swagger UI from cdn.jsdelivr.net, which is not loaded" in text
    assert 'see <a href="openapi.json">' in page
