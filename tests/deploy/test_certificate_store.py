"""The zip's packages come over TLS.

Their index has a certificate authority that only the system's store knows. So it is behind a
company's proxy that inspects TLS, with no variable like SSL_CERT_FILE set.
"""

import os
import ssl
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import trustme

from dev import ROOT
from tests.support.aws.zip import PATH_WITH_UV
from tests.support.http.clients import Response
from tests.support.http.http_server import serving
from tests.support.machine import WITH_MOUNTS_OF_ITS_OWN

pytestmark = [pytest.mark.linux, pytest.mark.namespaces, pytest.mark.slow]

STORE = "/etc/ssl/certs"
WHEEL = "package-1.0-py3-none-any.whl"
SOURCE = "VALUE = 1\n"
FETCH = """
import sys
from pathlib import Path
from deploy.build import BuildError, Target, fetch
try:
    fetch(Path("requirements.txt"), Target(), Path("folder"))
except BuildError as error:
    sys.exit(str(error))
"""
TRYING_PIP = "uv could not fetch every wheel, see above: trying pip.\n"


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """The proxy's certificate authority, which no store knows yet."""
    (tmp_path / "store").mkdir()
    return trustme.CA()


@pytest.fixture
def index(authority: trustme.CA, tmp_path: Path) -> Iterator[str]:
    """The URL of a package index with one package, and a requirements.txt that asks for it."""
    metadata = {
        "METADATA": "Metadata-Version: 2.1\nName: package\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(tmp_path / WHEEL, "w") as archive:
        archive.writestr("package/__init__.py", SOURCE)
        for name, content in metadata.items():
            archive.writestr(f"package-1.0.dist-info/{name}", content)
    wheel = (tmp_path / WHEEL).read_bytes()
    (tmp_path / "requirements.txt").write_text(
        f"package==1.0 --hash=sha256:{sha256(wheel).hexdigest()}\n"
    )
    files = {"/simple/package/": f'<a href="/{WHEEL}">{WHEEL}</a>'.encode(), f"/{WHEEL}": wheel}

    def respond(_method: str, path: str, _headers: dict[str, str], _body: bytes) -> Response:
        kind = "text/html" if path.endswith("/") else "application/zip"
        return Response(200 if path in files else 404, {"content-type": kind}, files.get(path, b""))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with serving(respond, context) as url:
        yield f"{url}/simple/"


def fetch_package(folder: Path, index: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the build's `fetch` in a mount namespace whose certificate store is `folder`/store."""
    in_namespace = [*WITH_MOUNTS_OF_ITS_OWN, "sh", "-c", f'mount --bind "$0" {STORE} && exec "$@"']
    defaults = {
        "PATH": PATH_WITH_UV,
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "UV_NO_CONFIG": "1",
        "UV_DEFAULT_INDEX": index,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": index,
        # Debian's pip and, from 24.2, every pip read the system's store. An older one has to be
        # given it.
        "PIP_CERT": f"{STORE}/ca-certificates.crt",
    }
    command = [*in_namespace, str(folder / "store"), sys.executable, "-c", FETCH]
    return subprocess.run(
        command, cwd=folder, env=defaults | environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    "environment", [{}, {"PATH": os.defpath}], ids=["uv", "pip, because there is no uv"]
)
def test_packages_are_fetched_over_tls_that_only_the_systems_store_vouches_for(
    authority: trustme.CA,
    index: str,
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "store/ca-certificates.crt"))
    outcome = fetch_package(tmp_path, index, **environment)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == ""
    assert (tmp_path / "folder/package/__init__.py").read_text() == SOURCE


def test_pip_is_used_where_uv_cannot_and_replaces_what_uv_has_left_half_done(
    authority: trustme.CA, index: str, tmp_path: Path
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "store/ca-certificates.crt"))
    package = tmp_path / "folder/package"
    package.mkdir(parents=True)
    outcome = fetch_package(tmp_path, index, UV_OFFLINE="1")
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr.endswith(TRYING_PIP)
    assert (package / "__init__.py").read_text() == SOURCE


def test_packages_of_an_authority_that_the_systems_store_does_not_know_fail_the_build(
    index: str, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "store/ca-certificates.crt"))
    outcome = fetch_package(tmp_path, index, PIP_RETRIES="0")
    assert outcome.returncode == 1
    assert TRYING_PIP in outcome.stderr
    assert outcome.stderr.endswith(
        "requirements.txt could be fetched, see above. It takes uv or pip.\n"
    )
    assert not (tmp_path / "folder/package").exists()
