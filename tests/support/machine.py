"""The optional tools of the tests, and whether this machine has them."""

import shutil
import subprocess
import sys
from pathlib import Path

from dev import ROOT

SYSTEM_POSTGRES = min(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
"""The programs of Debian's PostgreSQL, which is older than the wheel's, or None."""

NODE_TOOLS = ROOT / "node_modules/.bin"
"""The programs of package.json, which `make` installs."""

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
"""The path of Chromium, or None."""

CHROMIUM_OPTIONS = [
    "--headless",
    "--no-sandbox",  # Chromium has no sandbox for root
    "--disable-gpu",
    "--disable-dev-shm-usage",  # too small in containers
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
WITH_MOUNTS_OF_ITS_OWN = ("unshare", "--map-root-user", "--mount")
"""The prefix of a command that runs in its own mount namespace."""

IN_A_NETWORK_OF_ITS_OWN = (*WITH_MOUNTS_OF_ITS_OWN, "--net")
"""The prefix of a command that runs in its own network and mount namespaces."""


def _works(*command: str) -> bool:
    """Whether a program is installed, and its command succeeds."""
    return bool(
        shutil.which(command[0])
        and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


TOOLS: dict[str, tuple[object, str]] = {
    "system_postgres": (
        SYSTEM_POSTGRES,
        "The system has no PostgreSQL, so no test runs on an older version: "
        "apt-get install postgresql",
    ),
    "browser": (
        CHROMIUM,
        "Chromium is not installed, so no test runs in a browser: apt-get install chromium",
    ),
    "curl": (
        shutil.which("curl"),
        "curl is not installed, so no command of the documents runs: apt-get install curl",
    ),
    "ruby": (
        shutil.which("java") and _works("ruby", "-e", "gem 'typhoeus'"),
        "Java, Ruby or its Typhoeus is missing, so no Ruby client is generated: "
        "apt-get install default-jre-headless ruby ruby-typhoeus",
    ),
    "php": (
        shutil.which("java")
        and _works("php", "-r", "require 'GuzzleHttp/autoload.php'; mb_strlen('');"),
        "Java, PHP or its Guzzle or mbstring is missing, so no PHP client is generated: "
        "apt-get install default-jre-headless php-cli php-mbstring php-guzzlehttp-guzzle",
    ),
    "linux": (sys.platform == "linux", "This is not Linux, so the Lambda zip is built but not run"),
    "namespaces": (
        _works(*IN_A_NETWORK_OF_ITS_OWN, "true"),
        "This system does not allow namespaces, so no test runs with a name server "
        "or a certificate store of its own",
    ),
    "node": (
        NODE_TOOLS.is_dir(),
        "The packages of package.json are missing, so no test uses them: "
        "install Node.js 20.19+ and rerun make test",
    ),
}
"""By marker: whether this machine has the tool, and the message if it has not."""
