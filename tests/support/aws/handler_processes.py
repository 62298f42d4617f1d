"""Processes that each have a warm Lambda handler, like the environments of a Lambda function."""

import logging
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.pool import Pool
from typing import Any

from tests.support.http.clients import Api, through_lambda

call: Api
"""The handler of this process."""

barrier: Any
"""Where each process of the pool waits for the others."""


def _start(uri: str, shared_barrier: Any) -> None:
    global call, barrier
    logging.basicConfig(handlers=[logging.NullHandler()])
    os.environ["NEON_DATABASE_URL"] = uri
    call = Api(through_lambda)
    barrier = shared_barrier
    call("GET", "/v1/todos", user="first-request")


@contextmanager
def start(number: int, uri: str) -> Iterator[Pool]:
    """Start processes with a handler on this database.

    In the functions that they run, `call` and `barrier` are set.
    """
    server = multiprocessing.get_context("forkserver")
    # Import them once, not in each process.
    server.set_forkserver_preload([__name__, "todo_api.app"])
    with server.Pool(number, _start, (uri, server.Barrier(number))) as pool:
        yield pool
