"""Read and check CloudFormation templates with cfn-lint.

It is imported only where it is used, because importing it takes most of a second.
"""

from typing import Any


def parsed(template: str) -> dict[str, Any]:
    """Return the template, with each tag (`!Sub x`) as its function (`Fn::Sub: x`)."""
    from cfnlint.decode.cfn_yaml import loads

    content: dict[str, Any] = loads(template)
    return content


def findings(template: str) -> list[tuple[str, str]]:
    """Return the rule and the name of the resource of each finding."""
    from cfnlint.api import ManualArgs, lint

    found = lint(template, config=ManualArgs(regions=["eu-central-1"]))
    return sorted((finding.rule.id, finding.path[1]) for finding in found)
