"""The scripts of .ci, with stubs in place of the commands that reach AWS, GitHub, Neon and npm."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from dev import ROOT

PREVIOUS = "serverless/todo-api/dev/1795212863669-2026-11-20T22:14:23.669Z/todo-api.zip"
URL = "https://abc123.execute-api.eu-central-1.amazonaws.com"
CALLER = "arn:aws:sts::123456789012:assumed-role/todo-api-deployer-dev/GitHubActions"
BOUNDARY = "arn:aws:iam::123456789012:policy/todo-api-boundary-dev"
STACKS = ("dev", "branch-pr-7", "branch-pr-10", "branch-login")
"""The stages that have a stack."""

OWNER = "postgresql://neondb_owner:s3cr3t@ep-a-pooler.eu-central-1.aws.neon.tech/neondb"
STUB = """#!/bin/sh
command="${0##*/} $*"
echo "$command" >>log
if echo "$command" | grep -qE "$FAILING"; then exit 1; fi
case $command in
*"branches get"*) echo '{"id": "br-a"}';;
*reset_password*) echo "$OWNER";;
*connection-string*) echo "$OWNER";;
*list-stacks*) printf "$STACKS";;
*describe-parameters*) printf "$PARAMETERS";;
*"branches list"*) echo "$BRANCHES";;
"gh pr view 7 "*|"gh pr view 8 "*) echo CLOSED;;
"gh pr view 9 "*) echo MERGED;;
"gh pr view "*) echo OPEN;;
*get-template*) echo "$PREVIOUS";;
*get-caller-identity*) echo "$CALLER";;
*describe-stacks*) echo "$URL";;
*get-function-configuration*) echo https://app.example;;
*put-parameter*) cat >parameter;;
*verify*) echo "origins $CORS_ORIGINS" >>log;;
esac
"""


class Scripts:
    """A copy of .ci in a folder, with stubs for the commands that reach AWS, Neon and npm."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / ".ci", folder / ".ci")
        for name in (
            "bin/aws",
            "bin/make",
            "bin/npm",
            "bin/npx",
            "bin/gh",
            "node_modules/.bin/neonctl",
        ):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(STUB)
            path.chmod(0o755)

    def run(
        self, *command: str, stage: str = "dev", failing: str = "^$", caller: str = CALLER
    ) -> tuple[int, str]:
        """Run a script, and return its exit code and what it prints.

        `failing` matches the commands that fail.
        """
        environment = {
            "PATH": f"{self.folder}/bin:{os.environ['PATH']}",
            "STAGE": stage,
            "AWS_REGION": "eu-central-1",
            "NEON_PROJECT_ID": "project",
            "FAILING": failing,
            "PREVIOUS": PREVIOUS,
            "URL": URL,
            "CALLER": caller,
            "STACKS": "\\t".join(f"todo-api-{stage}" for stage in STACKS) + "\\n",
            "PARAMETERS": "/todo-api/branch-pr-9/neon-database-url\\n",
            "BRANCHES": json.dumps(
                [{"name": name} for name in ("main", "branch-pr-8", "branch-pr-10")]
            ),
            "OWNER": OWNER,
        }
        outcome = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return outcome.returncode, outcome.stdout

    @property
    def log(self) -> str:
        """The commands that ran, with their arguments."""
        return (self.folder / "log").read_text()
