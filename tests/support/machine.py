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

WITH_MOUNTS_OF_ITS_OWN = ("unshare", "--map-root-user", "--mount")
"""The prefix of a command that runs in its own mount namespace."""

IN_A_NETWORK_OF_ITS_OWN = (*WITH_MOUNTS_OF_ITS_OWN, "--net")
"""The prefix of a command that runs in its own network and mount namespaces."""

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
        shutil.which("java") and shutil.which("ruby"),
        "Java or Ruby is missing, so no Ruby client is generated: "
        "apt-get install default-jre-headless ruby",
    ),
    "php": (
        shutil.which("java") and shutil.which("php"),
        "Java or PHP is missing, so no PHP client is generated: "
        "apt-get install default-jre-headless php-cli",
    ),
    "linux": (sys.platform == "linux", "This is not Linux, so the Lambda zip is built but not run"),
    "namespaces": (
        shutil.which("unshare")
        and subprocess.run([*IN_A_NETWORK_OF_ITS_OWN, "true"], capture_output=True).returncode == 0,
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
