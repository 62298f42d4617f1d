"""Tell, before anything is installed, what this machine lacks.

It runs on the bare Python that make found.
"""

import platform
import sys
from importlib.util import find_spec


def lacking() -> "str | None":
    """One sentence on what is missing, or None."""
    if sys.version_info < (3, 11):  # noqa: UP036  # this reports an older Python
        return (
            f"Python 3.11 or newer is needed, not {platform.python_version()}: "
            "make PYTHON=/path/to/python3.13"
        )
    if not find_spec("venv") or not find_spec("ensurepip"):
        return (
            "This Python cannot make virtual environments: "
            "apt-get install python3-venv, or the like of your system."
        )
    libc, version = platform.libc_ver()
    has_glibc = libc == "glibc" and tuple(map(int, version.split("."))) >= (2, 28)
    if sys.platform == "darwin" or has_glibc:
        return None
    return (
        "The embedded PostgreSQL runs on macOS 11 and on Linux with glibc 2.28, or newer: "
        "this system is neither."
    )


if __name__ == "__main__":
    sys.exit(lacking())
