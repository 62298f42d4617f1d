"""Lambda entry point: API Gateway events in, responses out."""

import logging

from mangum import Mangum

from todo_api.app import create_app

logging.getLogger("mangum").setLevel(logging.WARNING)  # its line for each request holds the raw path

handler = Mangum(
    create_app(),
    lifespan="off",  # there is nothing to start or stop, and "auto" would try on every event
    text_mime_types=["text/", "application/json", "application/problem+json"],  # anything else is sent as base64
)
