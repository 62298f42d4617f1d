"""Build the Lambda zip: our code and its packages for Lambda's platform, all of it compiled.

It needs no package, and runs on Linux and macOS: `python3 deploy/build.py --help`. The same input
gives the same bytes, so that nothing is deployed where nothing has changed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "3.13"
"""Lambda's Python, as in `runtime` in serverless.yml."""

MACHINES = {"arm64": ("aarch64", 183), "x86_64": ("x86_64", 62)}
"""Lambda's name of each architecture, with Linux's and ELF's (`e_machine`)."""

PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
"""What Lambda's Amazon Linux 2023 (glibc 2.34) runs. pip takes these names literally: one that is
left out is a wheel that is not found, or an older version of it."""

# In bytes. Half as much again as there is now: Lambda takes more, but a cold start has to load it.
ZIPPED_MAX = 25_000_000
UNZIPPED_MAX = 80_000_000

SECRET_NAMES = re.compile(r"\.env(\..*)?|\.pgpass|credentials|id_[a-z0-9]+|.*\.(key|p12|pfx)")
SECRETS = re.compile(
    rb"[a-z0-9+]+://[^\s:/@'\"{}]+:[^\s:/@'\"{}]+@"  # user and password in a URL
    rb"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    rb"|\b(AKIA|ASIA)[A-Z0-9]{16}\b"  # an access key of AWS
    rb"|\bnpg_[A-Za-z0-9]{10}"  # a password made by Neon
)


class BuildError(Exception):
    """The build failed; the message says why, and what to do."""


@dataclass(frozen=True)
class Target:
    """What the zip is for."""

    architecture: str = "arm64"
    python: str = PYTHON

    @property
    def tag(self) -> str:
        """The Python's name in wheels and bytecode."""
        return self.python.replace(".", "")


def build(target: Target, output: Path) -> str:
    """Build the zip, and return its path and sizes as one line.

    Raises:
        BuildError: a file is in it that must not be, one is missing, or it is too large.
    """
    with TemporaryDirectory(prefix="todo-api-zip-") as name:
        folder = Path(name).resolve()
        shutil.copy(ROOT / "handler.py", folder)
        ignored = shutil.ignore_patterns("__pycache__", ".DS_Store")
        shutil.copytree(ROOT / "todo_api", folder / "todo_api", ignore=ignored)
        refuse_secrets(folder)
        fetch(ROOT / "requirements.txt", target, folder)
        refuse_other_platforms(folder, target)
        compile_all(folder, target)
        zipped, unzipped = write(folder, output)
    return f"{output}: {zipped / 1e6:.1f} MB zipped, {unzipped / 1e6:.1f} MB unzipped"


def fetch(requirements: Path, target: Target, folder: Path) -> None:
    """Put the wheels of `requirements` into `folder`.

    With uv or, if it is missing or fails, with pip: the files are the same.

    Raises:
        BuildError: there is neither of them, or a wheel cannot be fetched.
    """
    machine, _ = MACHINES[target.architecture]
    options = ["--target", str(folder), "--python-version", target.python]
    options += ["--only-binary", ":all:", "--no-deps", "--require-hashes", "--quiet"]
    options += ["--requirement", str(requirements)]

    def run(*command: str) -> bool:
        # uv trusts only its own list of certificate authorities, unless this is set. pip needs no
        # such setting.
        environment = {"UV_SYSTEM_CERTS": "1"} | os.environ
        # Nothing is installed for this Python, so pip needs no virtual environment.
        environment["PIP_REQUIRE_VIRTUALENV"] = "0"
        return subprocess.run([*command, *options], env=environment, check=False).returncode == 0

    fetched = False
    if uv := shutil.which("uv"):
        for_lambda = ["--python", sys.executable, "--python-platform", f"{machine}-{PLATFORMS[0]}"]
        uv_options = ["--link-mode", "copy", "--no-compile-bytecode"]
        fetched = run(uv, "pip", "install", *for_lambda, *uv_options)
        if not fetched:
            print("uv could not fetch every wheel, see above: trying pip.", file=sys.stderr)
    if not fetched:
        # --upgrade replaces what uv may have left half done.
        platforms = [f"--platform={name}_{machine}" for name in PLATFORMS]
        for_lambda = ["--implementation", "cp", *platforms]
        pip_options = ["--disable-pip-version-check", "--no-compile", "--upgrade"]
        # Whatever pip.conf or the environment says of them, which pip refuses beside --target.
        pip_options += ["--no-user", "--prefix=", "--root=/"]
        fetched = run(sys.executable, "-m", "pip", "install", *pip_options, *for_lambda)
    if not fetched:
        raise BuildError(
            f"Not every wheel of {requirements.name} could be fetched, see above. "
            "It takes uv or pip."
        )
    # The two leave different traces; and nobody runs a program of a package's on Lambda.
    (folder / ".lock").unlink(missing_ok=True)
    shutil.rmtree(folder / "bin", ignore_errors=True)
    for trace in ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json"):
        for path in folder.glob(f"*.dist-info/{trace}"):
            path.unlink()


def refuse_secrets(folder: Path) -> None:
    """Search our own code for secrets, by the names of files and by their content.

    Raises:
        BuildError: a file looks like one or holds one. The message does not repeat it.
    """
    for path in _files(folder):
        name = path.relative_to(folder)
        if SECRET_NAMES.fullmatch(path.name):
            raise BuildError(f"{name} is named like a secret: move it out of {name.parts[0]}.")
        content = path.read_bytes()
        if found := SECRETS.search(content):
            line = content.count(b"\n", 0, found.start()) + 1
            raise BuildError(
                f"{name} has something like a secret in line {line}: take it out of the code."
            )


def refuse_other_platforms(folder: Path, target: Target) -> None:
    """Look at every wheel's tags, and every extension's name and header.

    Raises:
        BuildError: something would not run on the target, or the driver's extension is not there.
    """
    not_made = f"is not made for Python {target.python} on {target.architecture}"
    machine, elf_machine = MACHINES[target.architecture]
    # https://packaging.python.org/specifications/platform-compatibility-tags
    platforms = "|".join(PLATFORMS)
    native = rf"(cp{target.tag}-cp{target.tag}|cp3\d+-abi3|py3-none)-({platforms})_{machine}"
    tag = rf"^Tag: ((py2\.)?py3-none-any|{native})$"
    for path in folder.glob("*.dist-info/WHEEL"):
        if not re.search(tag, path.read_text(), re.MULTILINE):
            raise BuildError(f"The wheel {path.parent.stem} {not_made}.")
    for path in (path for path in _files(folder) if ".so" in path.suffixes):
        header = path.read_bytes()[:20]
        if header[:4] != b"\x7fELF" or int.from_bytes(header[18:20], "little") != elf_machine:
            raise BuildError(
                f"{path.relative_to(folder)} {not_made}, but for another processor or system."
            )
        if ".cpython-" in path.name and f".cpython-{target.tag}-" not in path.name:
            raise BuildError(f"{path.relative_to(folder)} {not_made}, but for another Python.")
    extension = f"psycopg2/_psycopg.cpython-{target.tag}-{machine}-linux-gnu.so"
    if not (folder / extension).exists():
        raise BuildError(
            f"{extension} is missing: without psycopg2's extension there is no way to the database."
        )


def compile_all(folder: Path, target: Target) -> None:
    """Compile with the target's own Python: no other makes bytecode that it reads.

    Lambda can keep no bytecode of its own, for /var/task is read-only. `unchecked-hash` is what
    stays valid in a zip, where files have no times of their own.

    Raises:
        BuildError: something does not compile.
    """
    python = interpreter(target.python)
    if python is None:
        print(
            f"Warning: there is no Python {target.python} here, so the zip holds no bytecode, "
            "and the function takes 3 to 4 times as long to start. "
            f"To get one: uv python install {target.python}",
            file=sys.stderr,
        )
        return
    command = [python, "-s", "-S", "-m", "compileall", "-q"]
    command += ["--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", "/var/task", str(folder)]
    # One process, in sorted order and with a fixed seed: what is interned or referred to twice is
    # so every time.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    if subprocess.run(command, env=environment | {"PYTHONHASHSEED": "0"}, check=False).returncode:
        raise BuildError("Not everything compiles, see above.")


def interpreter(version: str) -> str | None:
    """The path of a Python of this minor version, if there is one on this machine."""
    candidates = [sys.executable, shutil.which(f"python{version}")]
    if uv := shutil.which("uv"):
        find = [uv, "python", "find", "--no-python-downloads", version]
        found = subprocess.run(find, capture_output=True, text=True, check=False)
        candidates.append(found.stdout.strip())
    candidates += map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    program = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, candidates):
        # Run, because a shim of pyenv may have no Python behind it.
        ask = [candidate, "-c", program]
        answer = subprocess.run(ask, capture_output=True, text=True, check=False)
        if answer.stdout.strip() == f"cpython {version}":
            return candidate
    return None


def write(folder: Path, output: Path) -> tuple[int, int]:
    """Zip `folder`, whatever the times and rights of its files.

    Returns the sizes, zipped and unzipped.

    Raises:
        BuildError: it is too large.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    draft = output.with_name(output.name + ".draft")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _files(folder):
            # Dated 1980, the first year of the zip format.
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            entry.create_system = 3  # Unix
            entry.external_attr = 0o100644 << 16  # a file that everyone may read
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
        unzipped = sum(entry.file_size for entry in archive.infolist())
    zipped = draft.stat().st_size
    if zipped > ZIPPED_MAX or unzipped > UNZIPPED_MAX:
        draft.unlink()
        raise BuildError(
            f"The zip is too large: {zipped / 1e6:.1f} MB zipped (at most {ZIPPED_MAX / 1e6:.0f}), "
            f"{unzipped / 1e6:.1f} MB unzipped (at most {UNZIPPED_MAX / 1e6:.0f})."
        )
    draft.replace(output)
    return zipped, unzipped


def _files(folder: Path) -> list[Path]:
    """Every file below `folder`, always in the same order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Build the Lambda zip.")
    parser.add_argument(
        "--architecture", choices=MACHINES, default="arm64", help="Lambda's processor (arm64)"
    )
    parser.add_argument(
        "--python",
        default=PYTHON,
        help=f"the Python that the zip is for, if not Lambda's ({PYTHON})",
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / ".serverless/todo-api.zip", help="where the zip goes"
    )
    arguments = parser.parse_args()
    try:
        print(build(Target(arguments.architecture, arguments.python), arguments.output))
    except BuildError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
