"""A store that is away for a moment is waited for; what will not pass is said at once."""

from __future__ import annotations

import errno
from collections.abc import Callable

import aiohttp
import botocore.exceptions
import pytest
from s3fs.errors import translate_boto_error

from orchestrator import patience
from orchestrator.errors import UserError
from orchestrator.patience import is_passing, patiently


def reply(code: str, status: int) -> Exception:
    answer = {"Error": {"Code": code, "Message": "x"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return botocore.exceptions.ClientError(answer, "PutObject")


def wrapped(cause: Exception) -> Exception:
    error = UserError("s3://x: cannot be reached")
    error.__cause__ = cause
    return error


PASSING = [
    ConnectionResetError(),
    TimeoutError(),
    OSError(errno.EBUSY, "SlowDown"),
    botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"),
    botocore.exceptions.HTTPClientError(error="x"),
    aiohttp.ClientPayloadError("cut off"),
    translate_boto_error(reply("InternalError", 500)),
    translate_boto_error(reply("SlowDown", 503)),
    wrapped(reply("Whatever", 502)),
    wrapped(ConnectionRefusedError()),
]
LASTING = [
    FileNotFoundError("x"),
    PermissionError(errno.EACCES, "x"),
    OSError(errno.ENOSPC, "full"),
    ValueError(),
    UserError("x"),
    translate_boto_error(reply("NoSuchKey", 404)),
    translate_boto_error(reply("AccessDenied", 403)),
    translate_boto_error(reply("QuotaExceeded", 403)),
]


def failing(error: Exception, times: int) -> Callable[[], str]:
    left = [times]

    def call() -> str:
        if left[0]:
            left[0] -= 1
            raise error
        return "done"

    return call


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_a_passing_fault_is_waited_for(error: Exception, pauses: list[float]) -> None:
    assert is_passing(error)
    assert patiently(failing(error, 4)) == "done"
    assert pauses == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_a_lasting_fault_is_said_at_once(error: Exception, pauses: list[float]) -> None:
    with pytest.raises(type(error)):
        patiently(failing(error, 1))
    assert not pauses


def test_a_store_may_be_away_for_two_minutes_but_not_for_ever(pauses: list[float]) -> None:
    with pytest.raises(ConnectionResetError):
        patiently(failing(ConnectionResetError(), 10**6))
    assert 120 < sum(pauses) <= patience.PATIENCE and max(pauses) == patience.LONGEST


def test_patience_can_be_shorter(pauses: list[float]) -> None:
    with pytest.raises(TimeoutError):
        patiently(failing(TimeoutError(), 9), patience=3)
    assert pauses == [0.5, 1.0]
