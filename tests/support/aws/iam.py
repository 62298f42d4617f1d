"""Evaluate IAM policies as AWS does, and fill in what CloudFormation fills in."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dev import ROOT

ACCOUNT = "123456789012"
PSEUDO_PARAMETERS = {
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::AccountId": ACCOUNT,
}


@dataclass(frozen=True)
class Action:
    """An action on a resource, with the condition keys that the caller's request has."""

    action: str
    resource: str = "*"
    context: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.action, self.resource, *map("=".join, self.context.items())])


def substituted(value: Any, parameters: Mapping[str, str]) -> Any:
    """Return a part of a template with its parameters, as CloudFormation does."""
    if isinstance(value, list):
        items = [substituted(item, parameters) for item in value]
        return [item for item in items if item is not None]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return (PSEUDO_PARAMETERS | dict(parameters)).get(value["Ref"])
    if set(value) == {"Fn::Sub"}:
        text = str(value["Fn::Sub"])
        for name, replacement in (PSEUDO_PARAMETERS | dict(parameters)).items():
            text = text.replace("${" + name + "}", replacement)
        assert "${" not in text
        return text
    return {name: substituted(item, parameters) for name, item in value.items()}


def allowed(policy: Any, requests: Sequence[Action], boundary: Any = None) -> dict[str, bool]:
    """Return for each request whether a role with this policy, and this boundary, may send it."""
    shown = [
        {"action": each.action, "resource": each.resource, "context": dict(each.context)}
        for each in requests
    ]
    document = json.dumps({"policy": policy, "boundary": boundary, "requests": shown})
    command = ["node", str(ROOT / "tests/support/aws/simulate_iam.cjs")]
    outcome = subprocess.run(command, input=document, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    return dict(zip(map(str, requests), json.loads(outcome.stdout), strict=True))
