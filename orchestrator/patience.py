"""Waiting for a store that is away for a moment: the same call again, later and later, until it is given up."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 150.0  #: seconds over which a call is tried again: a store that is away for two minutes fails no trial
FIRST, LONGEST = 0.5, 20.0  #: seconds between two tries

#: Of botocore, aiohttp and urllib3, by name, so that none of them is imported.
_PASSING = {
    "ClientConnectionError",
    "ClientPayloadError",
    "ConnectTimeoutError",
    "ConnectionClosedError",
    "EndpointConnectionError",
    "HTTPClientError",
    "IncompleteRead",
    "ProxyConnectionError",
    "ReadTimeoutError",
    "ResponseParserError",
    "ResponseStreamingError",
    "ServerTimeoutError",
}
_CODES = {
    errno.EAGAIN,
    errno.EBUSY,  # what s3fs makes of SlowDown and ServiceUnavailable,
    getattr(errno, "EREMOTEIO", errno.EBUSY),  # and of InternalError
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
}
_STATUS = {429, 500, 502, 503, 504}  #: replies of HTTP


def patiently(call: Callable[[], T], patience: float = PATIENCE) -> T:
    """What ``call`` returns; where it fails by a passing fault, it is called again for ``patience`` seconds.

    ``call`` must be free to run twice. Raises its last error; one that is not passing at once.
    """
    end = time.monotonic() + patience
    pause = FIRST
    while True:
        try:
            return call()
        except Exception as error:
            if not is_passing(error) or time.monotonic() + pause > end:
                raise
            if pause == FIRST:
                logging.getLogger("samsweep").warning("waiting for the store: %s", error or type(error).__name__)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST)


def is_passing(error: BaseException) -> bool:
    """Whether a fault of a store (or what it was raised from) may be gone in a minute."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, ConnectionError | TimeoutError) or {c.__name__ for c in type(at).__mro__} & _PASSING:
            return True
        if isinstance(at, OSError) and at.errno in _CODES:
            return True
        reply = getattr(at, "response", None)
        if isinstance(reply, dict) and reply.get("ResponseMetadata", {}).get("HTTPStatusCode") in _STATUS:
            return True
        at = at.__cause__
    return False
