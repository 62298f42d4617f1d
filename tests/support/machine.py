"""What is installed on this machine, and what the tests say where something is missing."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


SYSTEM_POSTGRES = min(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
"""Where the programs of Debian's own PostgreSQL are, if it is installed: an older one than the wheel's."""


NODE_TOOLS = ROOT / "node_modules/.bin"
"""Where the programs of package.json are, once `make` has installed them."""


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
"""A browser, if one is installed."""


IN_A_NETWORK_OF_ITS_OWN = ("unshare", "--map-root-user", "--mount", "--net")
"""What runs a command where it sees no network but its own, and may mount files over the system's."""


TOOLS: dict[str, tuple[object, str]] = {
    "system_postgres": (
        SYSTEM_POSTGRES,
        "The system has no PostgreSQL, so no test runs on an older one: apt-get install postgresql",
    ),
    "browser": (CHROMIUM, "The system has no Chromium, so no test runs in a browser: apt-get install chromium"),
    "curl": (shutil.which("curl"), "There is no curl, so no command of the documentation runs: apt-get install curl"),
    "ruby": (
        shutil.which("java") and shutil.which("ruby"),
        "Java or Ruby is missing, so no Ruby client is generated: apt-get install default-jre-headless ruby",
    ),
    "php": (
        shutil.which("java") and shutil.which("php"),
        "Java or PHP is missing, so no PHP client is generated: apt-get install default-jre-headless php-cli",
    ),
    "linux": (sys.platform == "linux", "This is not Linux, so the Lambda zip is built, and not run"),
    "namespaces": (
        shutil.which("unshare")
        and subprocess.run([*IN_A_NETWORK_OF_ITS_OWN, "true"], capture_output=True).returncode == 0,
        "This system lets nobody have a network of their own, so no test runs with a name server that never answers",
    ),
    "node": (
        NODE_TOOLS.is_dir(),
        "What package.json names is not installed, so no test uses it: get Node.js 20.19 or newer, and make test again",
    ),
}
"""What some tests need of the machine, by their marker: whether it is there, and what to say where it is not."""
