"""What pip's settings on a machine change: nothing in `.venv`, and nothing in the zip."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile, ZipInfo

import pytest

from deploy import build
from dev import ROOT

pytestmark = pytest.mark.slow

CONFIGURATION = "[install]\nuser = true\ntarget = elsewhere\nprefix = elsewhere\nroot = elsewhere\n"


def add_wheel(folder: Path, name: str, files: Mapping[str, str]) -> str:
    """Make a wheel, and return the line of a requirements file that pins it."""
    metadata = f"{name}-1.dist-info"
    tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    contents = {
        **files,
        f"{metadata}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{metadata}/WHEEL": tag,
        f"{metadata}/RECORD": "",
    }
    path = folder / f"{name}-1-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        for file, content in contents.items():
            archive.writestr(ZipInfo(file), content)
    return f"{name}==1 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of a machine, in a file and in the environment.

    One that is not overridden in both places fails the command, or shows in `elsewhere`.
    """
    (tmp_path / "pip.conf").write_text(CONFIGURATION)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_USER", "yes")
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))


@pytest.mark.usefixtures("settings")
def test_make_installs_into_the_virtual_environment_also_with_pip_where_uv_fails(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "project"
    (folder / "dev").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "dev/check_machine.py", folder / "dev")
    source = f"--no-index\n--find-links {tmp_path}\n"
    failing_uv = {"uv-1.data/scripts/uv": "#!python\nraise SystemExit('no such index')\n"}
    uv = add_wheel(tmp_path, "uv", failing_uv)
    package = add_wheel(tmp_path, "package", {"package.py": ""})
    (folder / "dev/requirements-uv.txt").write_text(source + uv)
    (folder / "dev/requirements-run.txt").write_text(source + uv + package)

    command = ["make", ".venv/serving"]
    outcome = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

    assert outcome.returncode == 0, outcome.stderr
    assert "uv could not install every package, see above: trying pip." in outcome.stdout
    command = [str(folder / ".venv/bin/python"), "-c", "import package; print(package.__file__)"]
    installed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert Path(installed.strip()).is_relative_to(folder / ".venv")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.usefixtures("settings")
def test_the_build_fetches_into_the_zips_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requirements = tmp_path / "requirements.txt"
    package = add_wheel(tmp_path, "package", {"package.py": ""})
    requirements.write_text(f"--no-index\n--find-links {tmp_path}\n{package}")
    monkeypatch.setenv("PATH", os.fspath(tmp_path))  # without uv

    build.fetch(requirements, build.Target(), tmp_path / "folder")

    assert (tmp_path / "folder/package.py").exists()
    assert not (tmp_path / "elsewhere").exists()
