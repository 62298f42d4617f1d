"""A fake AWS that records the calls of a deploy in order, and by default reports an existing stack.

It does not execute templates, so it cannot show whether AWS accepts them.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from tests.support.http.clients import Response

_READ_ACTIONS = re.compile(r"(Describe|Get|List|Head|Validate)[A-Z]\w*")
"""Actions that change nothing in an account."""

_RESPONSE = "<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"
_STACK_ID = "arn:aws:cloudformation:eu-central-1:123456789012:stack/todo-api-dev/1"
_DONE = "2026-11-20T00:00:00Z"
_RESULTS = {
    "GetCallerIdentity": "<Account>123456789012</Account>"
    "<Arn>arn:aws:iam::123456789012:user/deployer</Arn>",
    "DescribeStacks": f"<Stacks><member><StackId>{_STACK_ID}</StackId>"
    f"<StackName>todo-api-dev</StackName><CreationTime>{_DONE}</CreationTime>"
    "<StackStatus>UPDATE_COMPLETE</StackStatus><Outputs/></member></Stacks>",
    "DescribeStackResource": "<StackResourceDetail>"
    "<PhysicalResourceId>the-bucket</PhysicalResourceId>"
    f"<LastUpdatedTimestamp>{_DONE}</LastUpdatedTimestamp></StackResourceDetail>",
    "DescribeChangeSet": f"<Status>CREATE_COMPLETE</Status><StackId>{_STACK_ID}</StackId>"
    "<ChangeSetName>todo-api-dev-change-set</ChangeSetName>",
    "DescribeStackEvents": "<StackEvents><member><EventId>1</EventId>"
    f"<StackId>{_STACK_ID}</StackId><StackName>todo-api-dev</StackName>"
    f"<PhysicalResourceId>{_STACK_ID}</PhysicalResourceId>"
    "<LogicalResourceId>todo-api-dev</LogicalResourceId>"
    "<ResourceType>AWS::CloudFormation::Stack</ResourceType>"
    "<ResourceStatus>UPDATE_COMPLETE</ResourceStatus>"
    "<Timestamp>2099-01-01T00:00:00Z</Timestamp></member></StackEvents>",
}
_MISSING = """<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>
<Message>Stack with id of this name does not exist</Message></Error></ErrorResponse>"""
_LAMBDA = {
    "ListVersions": {
        "Versions": [{"Version": version} for version in ("$LATEST", "1", "2", "3", "4")]
    },
    "ListAliases": {"Aliases": [{"Name": "snapstart", "FunctionVersion": "4"}]},
    "DeleteFunction": {},
}
_VERBS = {"GET": "List", "HEAD": "Head", "PUT": "Put", "POST": "Post", "DELETE": "Delete"}


@dataclass
class Call:
    """A recorded call."""

    service: str
    action: str
    parameters: dict[str, Any]
    body: bytes
    observed: object
    """The result of `Aws.observe` during this call."""

    def __str__(self) -> str:
        """Return the name as in an IAM policy."""
        return f"{self.service}:{self.action}"


@dataclass
class Aws:
    """The fake AWS, a function for `serving`."""

    parameters: dict[str, str] = field(default_factory=dict)
    """The parameters of Parameter Store."""

    observe: Callable[[], object] = lambda: None
    """Called for each request before its response."""

    stack_exists: bool = True
    """Whether this stage was deployed before."""

    calls: list[Call] = field(default_factory=list)

    @property
    def writes(self) -> list[str]:
        """The calls that change something, in order."""
        return [str(call) for call in self.calls if not _READ_ACTIONS.fullmatch(call.action)]

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        """Record a call and respond to it."""
        # Credential=KEY/DATE/REGION/SERVICE/aws4_request
        service = headers["Authorization"].split("/")[3]
        call = Call(service, *_action(service, method, path, headers, body), body, self.observe())
        self.calls.append(call)
        status, text = self.result(call)
        media_type = "text/xml" if text.startswith("<") else "application/x-amz-json-1.1"
        return Response(status, {"Content-Type": media_type, "ETag": '"0"'}, text.encode())

    def result(self, call: Call) -> tuple[int, str]:
        """Return status and body of the response."""
        if call.service == "ssm":
            name = str(call.parameters["Name"])
            if call.action == "PutParameter":
                self.parameters[name] = str(call.parameters["Value"])
                return 200, json.dumps({"Version": 1, "Tier": "Standard"})
            if name not in self.parameters:
                return 400, json.dumps({"__type": "ParameterNotFound", "message": ""})
            value = self.parameters[name] if call.parameters.get("WithDecryption") else "encrypted"
            return 200, json.dumps(
                {"Parameter": {"Name": name, "Type": "SecureString", "Value": value}}
            )
        if call.action == "DescribeStacks" and not self.stack_exists:
            return 400, _MISSING
        if call.service in ("cloudformation", "sts"):
            return 200, _RESPONSE.format(action=call.action, result=_RESULTS.get(call.action, ""))
        if call.service == "s3":
            return 200, "<ListBucketResult/>" if call.action == "ListBucket" else ""
        if call.service == "lambda" and call.action in _LAMBDA:
            return 200, json.dumps(_LAMBDA[call.action])
        return 404, json.dumps({"Message": "not found"})


def _action(
    service: str, method: str, url: str, headers: dict[str, str], body: bytes
) -> tuple[str, dict[str, Any]]:
    """Parse the action and its parameters from a request in the service's protocol."""
    if "X-Amz-Target" in headers:
        return headers["X-Amz-Target"].split(".")[-1], json.loads(body)
    if service in ("cloudformation", "sts"):
        parameters = dict(parse_qsl(body.decode(), keep_blank_values=True))
        return parameters.pop("Action"), parameters
    path, _, query = url.partition("?")
    if service == "s3":
        kind = "Bucket" if path == "/the-bucket/" else "Object"
    else:
        kind = {"versions": "Versions", "aliases": "Aliases"}.get(
            path.rpartition("/")[2], "Function"
        )
    return _VERBS[method] + kind, {"path": path, "query": query}
