"""A fake AWS that records the calls of a deploy in order, and by default reports an existing stack.

It does not execute templates, so it cannot show whether AWS accepts them.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs

READ_ACTIONS = re.compile(r"(Describe|Get|List|Head|Validate)[A-Z]\w*")
"""Actions that change nothing in an account."""

_RESPONSE = "<{action}Response><{action}Result>{result}</{action}Result></{action}Response>"
_STACK_ID = "arn:aws:cloudformation:eu-central-1:123456789012:stack/todo-api-dev/1"
_DONE = "2026-11-20T00:00:00Z"
_RESULTS = {
    "GetCallerIdentity": "<Account>123456789012</Account><Arn>arn:aws:iam::123456789012:user/deployer</Arn>",
    "DescribeStacks": f"<Stacks><member><StackId>{_STACK_ID}</StackId><StackName>todo-api-dev</StackName>"
    f"<CreationTime>{_DONE}</CreationTime><StackStatus>UPDATE_COMPLETE</StackStatus><Outputs/></member></Stacks>",
    "DescribeStackResource": "<StackResourceDetail><PhysicalResourceId>the-bucket</PhysicalResourceId>"
    f"<LastUpdatedTimestamp>{_DONE}</LastUpdatedTimestamp></StackResourceDetail>",
    "DescribeChangeSet": f"<Status>CREATE_COMPLETE</Status><StackId>{_STACK_ID}</StackId>"
    "<ChangeSetName>todo-api-dev-change-set</ChangeSetName>",
    "DescribeStackEvents": f"<StackEvents><member><EventId>1</EventId><StackId>{_STACK_ID}</StackId>"
    "<StackName>todo-api-dev</StackName>"
    f"<PhysicalResourceId>{_STACK_ID}</PhysicalResourceId><LogicalResourceId>todo-api-dev</LogicalResourceId>"
    "<ResourceType>AWS::CloudFormation::Stack</ResourceType><ResourceStatus>UPDATE_COMPLETE</ResourceStatus>"
    "<Timestamp>2099-01-01T00:00:00Z</Timestamp></member></StackEvents>",
}
_MISSING = """<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>
<Message>Stack with id of this name does not exist</Message></Error></ErrorResponse>"""
_LAMBDA = {
    "ListVersions": {"Versions": [{"Version": version} for version in ("$LATEST", "1", "2", "3", "4")]},
    "ListAliases": {"Aliases": [{"Name": "snapstart", "FunctionVersion": "4"}]},
    "DeleteFunction": {},
}
_VERBS = {"GET": "List", "HEAD": "Head", "PUT": "Put", "POST": "Post", "DELETE": "Delete"}


@dataclass
class Call:
    """A recorded call."""

    service: str
    action: str
    parameters: dict[str, object]
    body: bytes
    observed: object
    """The result of `Aws.observe` during this call."""

    def __str__(self) -> str:
        """Return the name as in an IAM policy."""
        return f"{self.service}:{self.action}"


@dataclass
class Aws:
    """The fake AWS; `with` starts and stops its server."""

    parameters: dict[str, str] = field(default_factory=dict)
    """The parameters of Parameter Store."""

    observe: Callable[[], object] = lambda: None
    """Called for each request before its response."""

    stack_exists: bool = True
    """Whether this stage was deployed before."""

    calls: list[Call] = field(default_factory=list)

    def __enter__(self) -> "Aws":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"aws": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def writes(self) -> list[str]:
        """The calls that change something, in order."""
        return [str(call) for call in self.calls if not READ_ACTIONS.fullmatch(call.action)]

    def respond(self, call: Call) -> tuple[int, str]:
        """Return status and body of the response."""
        if call.service == "ssm":
            name = call.parameters["Name"]
            if name not in self.parameters:
                return 400, json.dumps({"__type": "ParameterNotFound", "message": ""})
            value = self.parameters[str(name)] if call.parameters.get("WithDecryption") else "encrypted"
            return 200, json.dumps({"Parameter": {"Name": name, "Type": "SecureString", "Value": value}})
        if call.action == "DescribeStacks" and not self.stack_exists:
            return 400, _MISSING
        if call.service in ("cloudformation", "sts"):
            return 200, _RESPONSE.format(action=call.action, result=_RESULTS.get(call.action, ""))
        if call.service == "s3":
            return 200, "<ListBucketResult/>" if call.action == "ListBucket" else ""
        if call.service == "lambda" and call.action in _LAMBDA:
            return 200, json.dumps(_LAMBDA[call.action])
        return 404, json.dumps({"Message": "not found"})


class _Handler(BaseHTTPRequestHandler):
    """Parse the call from the service's protocol, record it and respond."""

    protocol_version = "HTTP/1.1"
    aws: Aws

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        _, _, _, service, _ = self.headers["Authorization"].split("Credential=")[1].split(",")[0].split("/")
        parameters: dict[str, object] = {}
        if "X-Amz-Target" in self.headers:
            action, parameters = self.headers["X-Amz-Target"].split(".")[-1], json.loads(body)
        elif service in ("cloudformation", "sts"):
            parameters = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            action = str(parameters.pop("Action"))
        elif service == "s3":
            path, _, query = self.path.partition("?")
            is_bucket = path.count("/") == 1 or path.endswith("the-bucket/")
            action = _VERBS[self.command] + ("Bucket" if is_bucket else "Object")
            parameters = {"path": path, "query": query}
        else:
            path, _, query = self.path.partition("?")
            kind = path.rsplit("/", 1)[-1].title() if self.command == "GET" else "Function"
            action = _VERBS[self.command] + (kind if kind in ("Versions", "Aliases") else "Function")
            parameters = {"path": path, "query": query}
        call = Call(service, action, parameters, body, self.aws.observe())
        self.aws.calls.append(call)
        status, text = self.aws.respond(call)
        self.send_response(status)
        content = text.encode()
        self.send_header("Content-Type", "text/xml" if text.startswith("<") else "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", '"0"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815  # names of http.server

    def log_message(self, *_: object) -> None:
        """Do not log requests."""
