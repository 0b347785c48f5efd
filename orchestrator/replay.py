"""A trial run again from its record, and the two held against each other, number for number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator import provenance
from orchestrator.build import pick_device, pick_precision
from orchestrator.cores import rank_threads
from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.results import REPLAY
from orchestrator.single import Errand
from orchestrator.storage import Storage

Row = Mapping[str, Any]  #: as ``read_rows`` reads it


@dataclass(frozen=True)
class Number:
    """A number of the record and what it is now; None where one of them is not there."""

    place: str  #: ``epoch 3`` or ``test``
    name: str  #: ``loss bce`` or ``val mdice``
    was: float | None
    now: float | None

    @property
    def same(self) -> bool:
        """Whether all digits are the same."""
        both_nan = self.was is not None and self.now is not None and math.isnan(self.was) and math.isnan(self.now)
        return self.was == self.now or both_nan

    @property
    def apart(self) -> float:
        """The difference's size; infinite where one of the two is not there or not finite."""
        if self.same:
            return 0.0
        if self.was is None or self.now is None or not math.isfinite(self.was - self.now):
            return math.inf
        return abs(self.was - self.now)


@dataclass(frozen=True)
class Comparison:
    """A trial and its replay."""

    numbers: list[Number]
    same_order: bool  #: whether every epoch saw its samples in the same order
    same_checkpoint: bool | None  #: bit for bit; None where the record does not tell

    @property
    def same(self) -> bool:
        return self.same_order and all(number.same for number in self.numbers)

    @property
    def largest(self) -> Number | None:
        """The number that is farthest from what it was; None where all are the same."""
        return max((n for n in self.numbers if not n.same), key=lambda n: n.apart, default=None)

    def to_json(self) -> dict[str, Any]:
        largest = self.largest
        return {
            "identical": self.same,
            "same_order": self.same_order,
            "same_checkpoint": self.same_checkpoint,
            "largest_difference": {**asdict(largest), "apart": largest.apart} if largest else None,
            "numbers": [asdict(number) for number in self.numbers],
        }


def compare(then: Row, now: Row) -> Comparison:
    """Every loss, learning rate and metric of each epoch, and the test's metrics, of a trial and its replay."""
    epochs = [{e["epoch"]: e for e in row["epochs"]} for row in (then, now)]
    numbers: list[Number] = []
    for epoch in sorted({*epochs[0], *epochs[1]}):
        was, is_ = ({"lr": e["lr"], **dict(_named(e))} if e else {} for e in (one.get(epoch) for one in epochs))
        numbers += _numbers(f"epoch {epoch}", was, is_)
    numbers += _numbers("test", then["test"], now["test"])
    orders = [[e["order"] for e in row["epochs"]] for row in (then, now)]
    hashes = then["checkpoint_sha256"], now["checkpoint_sha256"]
    return Comparison(numbers, orders[0] == orders[1], None if hashes[0] is None else hashes[0] == hashes[1])


def errand_of(row: Row) -> Errand:
    """What to do for a replay: a trial that did not complete is trained for the epochs that it had, and not tested.

    Raises:
        UserError: it had none.
    """
    name = f"{row['run']}/{row['trial']}"
    if not row["epochs"]:
        why = f"it {row['status']}" + (f": {row['cause']}" if row["cause"] else "")
        raise UserError(f"trial '{name}' has no finished epoch to compare with ({why}); replay another one")
    return Errand(role=REPLAY, of=name, until=0 if row["status"] == "completed" else len(row["epochs"]))


def replay_name(storage: Storage, row: Row) -> str:
    """RUN-TRIAL-replay; with a number, where that is there already."""
    first = f"{row['run']}-{row['trial']}-replay"
    taken, number = set(storage.names()), 1
    while (name := first if number == 1 else f"{first}-{number}") in taken:
        number += 1
    return name


def differences_before(row: Row, plan: Plan) -> list[str]:
    """What is not as it was, as far as this process can say it before the replay."""
    train, device = plan.settings.train, pick_device()
    here = provenance.hardware(device, pick_precision(train.precision, device))
    if device.type == "cpu":
        here["threads"] = rank_threads(train.cpus_per_worker)
    told = provenance.differences(dict(row), {**provenance.code(), "hardware": here})
    return told + [f"the trial was cut off and gone on with: {row['continued']} times"] * bool(row["continued"])


def _named(epoch: Row) -> Iterator[tuple[str, float]]:
    yield from ((f"loss {name}", value) for name, value in epoch["losses"].items())
    yield from ((f"val {name}", value) for name, value in epoch["val"].items())


def _numbers(place: str, was: Row, now: Row) -> list[Number]:
    return [Number(place, name, was.get(name), now.get(name)) for name in sorted({*was, *now})]
