"""One user's attempts on the items of another, with every request that the document describes."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.support.documents.operations import missing_like
from tests.support.documents.walk import Caller, Request


def leaks(
    victim: Caller, intruder: Caller, read: Callable[[], object], *, briefly: bool = False
) -> list[str]:
    """Return the requests with which the intruder reads, changes or detects what is the victim's.

    An item is detected when the response differs from the one to an id that no item has.

    Args:
        victim: the user whose items the requests name.
        intruder: the user who sends them.
        read: returns what the victim has, to be compared before and after each request.
        briefly: whether to send only the first request of each operation, without options.
    """
    found = []
    for operation in victim.operations:
        if not operation.needs_user:
            continue
        for request in victim.requests(operation):
            names_no_item = not request.ids and not request.references
            if names_no_item:
                victim.send(request)  # the intruder then sends what the victim has already
            before = read()
            for anothers, missing in _attempts(request, intruder):
                response = intruder.send(anothers)
                answer = f"{request.name}: {response.status} {response.body.decode()}"
                if response.status >= (400 if names_no_item else 500):
                    found.append(f"{answer}, not as for the victim")
                if victim.is_named_in(response):
                    found.append(f"{answer}, which is the victim's")
                if missing is not None:
                    expected = intruder.send(missing)
                    is_alike = response.without_request_id() == expected.without_request_id()
                    is_found = bool(request.ids) and anothers is request and response.status != 404
                    if is_found or not is_alike:
                        found.append(f"{answer}, not as a missing id: {expected.status}")
            if read() != before:
                found.append(f"{request.name}: changes the victim's rows")
            if briefly:
                break
    return found


def _attempts(request: Request, intruder: Caller) -> Iterator[tuple[Request, Request | None]]:
    """Yield requests that name something of the victim's, and the same with a missing id."""
    if request.ids:
        missing = tuple(missing_like(item_id) for item_id in request.ids)
        yield request, replace(request, ids=missing)
    else:
        yield request, None
    # The same request to an item of the intruder's own, but with a reference to the victim's.
    if request.references:
        own = intruder.own(request.name, request.operation, request.choices)
        for option in request.references:
            anothers = request.values[option]
            yield own.with_value(option, anothers), own.with_value(option, missing_like(anothers))
