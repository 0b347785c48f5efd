"""Rows of finished trials: one Arrow file a trial under STORAGE, read back for leaderboard and predict."""

from __future__ import annotations

import importlib.metadata
import json
import math
import os
import platform
import subprocess
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

import orchestrator
from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.space import chosen_settings
from orchestrator.storage import Storage

FILE = "record.arrow"
TRIALS = "trials"
COMMIT = "SAMSWEEP_COMMIT"  #: environment variable: the commit, where no checkout tells it
ROW_VERSION = 1

_METRICS = pa.map_(pa.string(), pa.float64())
_EPOCH = pa.struct(
    [
        ("epoch", pa.int32()),
        ("lr", pa.float64()),
        ("losses", _METRICS),
        ("val", _METRICS),
        ("samples", pa.int64()),
        ("order", pa.string()),
        ("seconds", pa.float64()),
        ("eval_seconds", pa.float64()),
        ("peak_memory_mb", pa.float64()),
    ]
)
SCHEMA = pa.schema(
    [
        ("row_version", pa.int32()),
        ("run", pa.string()),
        ("trial", pa.string()),
        ("method", pa.string()),
        ("dataset", pa.string()),
        ("task", pa.string()),
        ("backbone", pa.string()),
        ("stand_in", pa.bool_()),
        ("status", pa.string()),  # completed, pruned, failed or stopped
        ("cause", pa.string()),  # of a failure
        ("choices", pa.string()),  # JSON: what the search chose
        ("settings", pa.string()),  # JSON: all settings, dotted
        ("seed", pa.int64()),
        ("workers", pa.int32()),
        ("objective", pa.string()),
        ("best", pa.float64()),
        ("best_epoch", pa.int32()),
        ("chosen_on", pa.string()),  # the split that the best epoch was chosen on
        ("test", _METRICS),
        ("epochs", pa.list_(_EPOCH)),
        ("trained_parameters", pa.int64()),
        ("seconds", pa.float64()),
        ("peak_memory_mb", pa.float64()),
        ("data_fingerprint", pa.string()),
        ("data_skipped", pa.int32()),
        ("backbone_random", pa.bool_()),
        ("code_version", pa.string()),
        ("packages", pa.map_(pa.string(), pa.string())),
        ("host", pa.string()),
        ("finished", pa.string()),  # UTC, ISO 8601
    ]
)


@dataclass
class Row:
    """A finished trial; the columns of ``SCHEMA``."""

    run: str
    trial: str
    method: str
    dataset: str
    task: str
    backbone: str
    stand_in: bool
    status: str
    settings: dict[str, Any]
    objective: str
    data_fingerprint: str
    finished: str
    choices: dict[str, Any] = field(default_factory=dict)
    cause: str | None = None
    epochs: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    data_skipped: int = 0
    backbone_random: bool = False

    @property
    def last(self) -> dict[str, Any]:
        return self.epochs[-1] if self.epochs else {}

    @property
    def test(self) -> dict[str, float]:
        return dict(self.last.get("test") or {})

    @property
    def best(self) -> float:
        return float(self.last.get("best", math.nan))

    def to_table(self) -> pa.Table:
        columns = {
            **{name: getattr(self, name) for name in SCHEMA.names if hasattr(self, name)},
            "row_version": ROW_VERSION,
            "choices": json.dumps(self.choices, sort_keys=True),
            "settings": json.dumps(self.settings, sort_keys=True),
            "seed": self.settings["train.seed"],
            "workers": self.settings["train.workers"],
            "best_epoch": self.last.get("best_epoch"),
            "chosen_on": self.last.get("chosen_on"),
            "trained_parameters": self.last.get("trained_parameters"),
            "peak_memory_mb": self.last.get("peak_memory_mb"),
            "test": _items(self.test),
            "epochs": [_epoch(e) for e in self.epochs],
            "code_version": code_version(),
            "packages": _items(packages()),
            "host": platform.node(),
        }
        return pa.Table.from_pylist([columns], schema=SCHEMA)


def make_row(
    plan: Plan,
    trial: str,
    status: str,
    epochs: list[dict[str, Any]],
    *,
    seconds: float,
    choices: dict[str, Any] | None = None,
    cause: str | None = None,
) -> Row:
    """The row of a trial that has just ended. ``choices``: what a search chose, on top of the plan's settings."""
    settings = plan.settings.replace(chosen_settings(choices or {}))
    return Row(
        run=plan.name,
        trial=trial,
        method=settings.method,
        dataset=settings.dataset,
        task=plan.task.name,
        backbone=settings.backbone.name,
        stand_in=plan.stand_in,
        status=status,
        cause=cause,
        choices=choices or {},
        settings=settings.flat(),
        objective=plan.task.objective,
        data_fingerprint=plan.fingerprint,
        data_skipped=plan.skipped,
        backbone_random=plan.backbone_random,
        epochs=epochs,
        seconds=seconds,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def from_record(record: dict[str, Any]) -> Row:
    """A row that was read back (``read_rows``), as it was written."""
    epochs = [dict(epoch) for epoch in record["epochs"]]
    if epochs:
        last = ("best", "best_epoch", "chosen_on", "trained_parameters", "test")
        epochs[-1] |= {name: record[name] for name in last}
    return Row(**{f.name: record[f.name] for f in fields(Row) if f.name in record} | {"epochs": epochs})


def write_row(run: Storage, row: Row) -> None:
    """Write a trial's row into its folder."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SCHEMA) as writer:
        writer.write_table(row.to_table())
    run.write(f"{TRIALS}/{row.trial}/{FILE}", sink.getvalue().to_pybytes())


def read_rows(storage: Storage, run: str | None = None) -> list[dict[str, Any]]:
    """The rows of all trials under STORAGE (or of one run), maps as dictionaries, JSON parsed.

    Raises:
        UserError: a row cannot be read.
    """
    rows = []
    for name in [run] if run else storage.names():
        for trial in (storage / name).names(TRIALS):
            path = f"{name}/{TRIALS}/{trial}/{FILE}"
            if storage.exists(path):
                rows.append(_read(storage, path))
    return rows


def _read(storage: Storage, path: str) -> dict[str, Any]:
    try:
        row: dict[str, Any] = pa.ipc.open_file(pa.py_buffer(storage.read(path))).read_all().to_pylist()[0]
    except (pa.ArrowInvalid, IndexError, OSError) as error:
        raise UserError(f"{storage.path(path)}: damaged result; remove that trial's folder") from error
    if row["row_version"] != ROW_VERSION:
        raise UserError(f"{storage.path(path)}: a result of version {row['row_version']}, this is {ROW_VERSION}")
    row["test"] = dict(row["test"] or [])
    row["packages"] = dict(row["packages"] or [])
    for epoch in row["epochs"]:
        epoch["losses"], epoch["val"] = dict(epoch["losses"] or []), dict(epoch["val"] or [])
    row["choices"], row["settings"] = json.loads(row["choices"]), json.loads(row["settings"])
    return row


def _epoch(record: dict[str, Any]) -> dict[str, Any]:
    kept = {f.name: record.get(f.name) for f in _EPOCH}
    return {**kept, "losses": _items(record["losses"]), "val": _items(record["val"])}


def _items(mapping: dict[str, Any]) -> list[tuple[str, Any]]:
    return sorted(mapping.items())


@cache
def code_version() -> str:
    """The package's version, with the commit: of the checkout, or as the image's maker put it into the environment."""
    if told := os.environ.get(COMMIT):
        return f"{orchestrator.__version__}+{told}"
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return orchestrator.__version__
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--tags"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{orchestrator.__version__}+{done.stdout.strip() or 'unknown'}"


@cache
def packages() -> dict[str, str]:
    """The versions of the packages that a result depends on, of those that are there."""
    names = ("torch", "torchvision", "segment-anything", "ray", "optuna", "pyarrow", "numpy", "pillow", "pysodmetrics")
    found = {n: next((d.version for d in importlib.metadata.distributions(name=n)), None) for n in names}
    return {"python": platform.python_version()} | {n: version for n, version in found.items() if version}
