"""Build the Lambda zip as `make zip` does, for this machine."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from deploy import build
from deploy.build import Target
from dev import ROOT

LAMBDA_PYTHON = build.interpreter(build.PYTHON)
"""The path of a Python of Lambda's version, if this machine has one."""

ARCHITECTURE = "x86_64" if platform.machine() in ("x86_64", "AMD64") else "arm64"
TARGET = Target(ARCHITECTURE, build.PYTHON if LAMBDA_PYTHON else "{}.{}".format(*sys.version_info))
"""A target that this machine can run: without Lambda's Python, the Python of the tests."""

PATH_WITH_UV = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def run_build(
    output: Path, root: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run deploy/build.py of the checkout `root` for `TARGET`."""
    command = [
        sys.executable,
        "-W",
        "error",
        str(root / "deploy/build.py"),
        "--output",
        str(output),
    ]
    command += ["--architecture", TARGET.architecture, "--python", TARGET.python]
    environment = os.environ | {"PATH": PATH_WITH_UV, **environment}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def build_zip(output: Path, root: Path = ROOT, **environment: str) -> Path:
    """Build the zip, and check the line that the build prints."""
    outcome = run_build(output, root, **environment)
    assert outcome.returncode == 0, outcome.stderr
    printed = rf"{re.escape(str(output))}: [\d.]+ MB zipped, [\d.]+ MB unzipped\n"
    assert re.fullmatch(printed, outcome.stdout), outcome.stdout
    return output
