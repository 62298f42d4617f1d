"""The entry point of the Lambda function: API Gateway's events in, its responses out."""

import gc

gc.disable()  # what is imported stays: looking for garbage in it would make a start a fifteenth longer

import logging
from contextlib import suppress
from typing import Any

from mangum import Mangum
from mangum.types import LambdaContext, LambdaEvent

from todo_api.app import create_app
from todo_api.priming import prime

logging.getLogger("mangum").setLevel(logging.WARNING)  # its line for each request holds the raw path

app = create_app()
_adapter = Mangum(
    app,
    lifespan="off",  # there is nothing to start or stop, and "auto" would try with every event
    text_mime_types=["text/", "application/json", "application/problem+json"],  # anything else goes out as base64
)


def handler(event: LambdaEvent, context: LambdaContext) -> dict[str, Any]:
    """Answer one event of API Gateway (HTTP API or REST API) or of a function URL."""
    request = event["requestContext"]
    if "http" in request:
        # Payload 2.0: the path begins with the stage, if that has a name, and is decoded, which Mangum does once more.
        stage = "" if request["stage"] == "$default" else f"/{request['stage']}"
        request["http"]["path"] = request["http"]["path"].removeprefix(stage).replace("%", "%25")
    response = _adapter(event, context)
    if response["statusCode"] in (204, 304):
        response["headers"].pop("content-type", None)  # Mangum declares a type even for a body that is not there
    return response


with suppress(ImportError):  # only Lambda's runtime has this module, and calls what is registered with SnapStart only
    from snapshot_restore_py import register_before_snapshot

    register_before_snapshot(prime, app, handler)

gc.freeze()  # nor is it looked at later
gc.enable()
