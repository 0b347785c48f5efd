"""A store that is away for a moment is waited for; what will not pass is said at once."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from orchestrator import patience
from orchestrator.errors import UserError
from orchestrator.patience import is_passing, patiently


class EndpointConnectionError(Exception):
    """As botocore calls it."""


def wrapped(cause: Exception) -> Exception:
    error = UserError("s3://x: cannot be reached")
    error.__cause__ = cause
    return error


PASSING = [
    ConnectionResetError(),
    TimeoutError(),
    OSError(errno.EBUSY, "SlowDown"),
    EndpointConnectionError(),
    wrapped(ConnectionRefusedError()),
]
LASTING = [
    FileNotFoundError("x"),
    PermissionError(errno.EACCES, "x"),
    OSError(errno.ENOSPC, "full"),
    ValueError(),
    UserError("x"),
]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that passes by sleeping alone; its pauses."""
    pauses: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", pauses.append)
    monkeypatch.setattr(patience.time, "monotonic", lambda: sum(pauses))
    return pauses


def failing(error: Exception, times: int) -> Callable[[], str]:
    left = [times]

    def call() -> str:
        if left[0]:
            left[0] -= 1
            raise error
        return "done"

    return call


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_a_passing_fault_is_waited_for(error: Exception, clock: list[float]) -> None:
    assert is_passing(error)
    assert patiently(failing(error, 4)) == "done"
    assert clock == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_a_lasting_fault_is_said_at_once(error: Exception, clock: list[float]) -> None:
    with pytest.raises(type(error)):
        patiently(failing(error, 1))
    assert not clock


def test_a_store_may_be_away_for_two_minutes_but_not_for_ever(clock: list[float]) -> None:
    with pytest.raises(ConnectionResetError):
        patiently(failing(ConnectionResetError(), 10**6))
    assert 120 < sum(clock) <= patience.PATIENCE and max(clock) == patience.LONGEST


def test_patience_can_be_shorter(clock: list[float]) -> None:
    with pytest.raises(TimeoutError):
        patiently(failing(TimeoutError(), 9), patience=3)
    assert clock == [0.5, 1.0]
