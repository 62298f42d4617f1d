"""An HTTP API with the Lambda authorizer of docs/extending/4-authorizer.patch on `/v1/{proxy+}`.

Start it with `python -m tests.support.aws.stage_gateway --port PORT`. The folder of authorizer.py
is on PYTHONPATH, and its settings are in the environment.
"""

import importlib
import json
import sys
from functools import cache
from http.server import HTTPServer
from typing import Any

from tests.support.aws.authorizer import event
from tests.support.aws.gateway import Gateway
from tests.support.http.clients import Response
from tests.support.http.stage_proxy import gateway_response

authorizer = importlib.import_module("authorizer")


@cache
def _cached_answer(authorization: str) -> dict[str, Any]:
    """Call the authorizer once for each identity source. An error is not cached."""
    answer: dict[str, Any] = authorizer.handler(event(authorization), None)
    return answer


class AuthorizingGateway(Gateway):
    """The gateway, with the routes of the patch's serverless.yml."""

    def authorize(self, fields: dict[str, str]) -> dict[str, Any] | Response | None:
        """Answer as API Gateway does: 401 without a token, 403 when refused, 500 after an error."""
        if not self.path.startswith("/v1/") or self.command == "OPTIONS":
            return None  # the routes without an authorizer
        if "authorization" not in fields:
            return gateway_response(401, "Unauthorized")
        try:
            answer = _cached_answer(fields["authorization"])
        except authorizer.KeysUnavailable:
            return gateway_response(500, "Internal Server Error")
        if not answer["isAuthorized"]:
            return gateway_response(403, "Forbidden")
        return {"lambda": json.loads(json.dumps(answer["context"]))}


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[2])), AuthorizingGateway).serve_forever()
