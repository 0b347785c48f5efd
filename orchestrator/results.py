"""Rows of finished trials: one Arrow file a trial under STORAGE, read back for leaderboard and predict."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from orchestrator import provenance
from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.redact import redact
from orchestrator.space import chosen_settings
from orchestrator.storage import Storage

FILE = "record.arrow"
TRIALS = "trials"
ROW_VERSION = 1
#: Why a trial was run: to search, to see the spread over seeds of what was found, or to see it once more.
SEARCH, SEED, REPLAY = "search", "seed", "replay"

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
        ("wait_seconds", pa.float64()),  # of them, for data
        ("eval_seconds", pa.float64()),
        ("peak_memory_mb", pa.float64()),
        ("encoded", pa.int64()),  # images that the encoder was run on, for stored embeddings, too
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
        # what older rows do not have reads as null
        ("role", pa.string()),  # search, seed or replay
        ("of", pa.string()),  # RUN/TRIAL, whose settings a seed or a replay has
        ("command", pa.string()),
        ("data", pa.string()),  # URI of the root that holds the dataset
        ("commit", pa.string()),
        ("diff", pa.string()),  # sha256 of what the checkout had beyond the commit
        ("hardware", pa.string()),  # JSON, of the first rank
        ("continued", pa.int32()),  # how often it was gone on with after having been cut off
        ("backbone_fingerprint", pa.string()),
        ("checkpoint_sha256", pa.string()),
    ]
)


def trial_name(number: int) -> str:
    """What the study's trial ``number`` is called: its folder, its row, its line on the screen."""
    return f"{number:03d}"


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
    role: str = SEARCH
    of: str | None = None
    command: str | None = None
    data: str | None = None
    code_version: str | None = None
    commit: str | None = None
    diff: str | None = None
    packages: dict[str, str] = field(default_factory=dict)
    host: str | None = None
    hardware: dict[str, Any] | None = None
    continued: int | None = None
    backbone_fingerprint: str | None = None
    checkpoint_sha256: str | None = None

    @property
    def name(self) -> str:
        """What names it under STORAGE: RUN/TRIAL."""
        return f"{self.run}/{self.trial}"

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
            "packages": _items(self.packages),
            "hardware": json.dumps(self.hardware, sort_keys=True) if self.hardware else None,
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
    role: str = SEARCH,
    of: str | None = None,
) -> Row:
    """The row of a trial that has just ended. ``choices``: what a search chose, on top of the plan's settings.

    Where it was trained, its epochs tell; of one without any epoch, this process speaks.
    """
    settings = plan.settings.replace(chosen_settings(choices or {}))
    origins = [epoch["origin"] for epoch in epochs if epoch.get("origin")]
    best_epoch = epochs[-1].get("best_epoch") if epochs else None
    return Row(
        run=plan.name,
        trial=trial,
        method=settings.method,
        dataset=settings.dataset,
        task=plan.task.name,
        backbone=settings.backbone.name,
        stand_in=plan.stand_in,
        status=status,
        cause=redact(cause) if cause else None,
        choices=choices or {},
        settings=settings.flat(),
        objective=plan.task.objective,
        data_fingerprint=plan.fingerprint,
        data_skipped=plan.skipped,
        backbone_random=plan.backbone_random,
        epochs=epochs,
        seconds=seconds,
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        role=role,
        of=of,
        command=plan.command,
        data=plan.data.uri,
        continued=max(0, len(origins) - 1),
        checkpoint_sha256=next((e.get("checkpoint") for e in epochs if e["epoch"] == best_epoch), None),
        **(origins[-1] if origins else provenance.code()),
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
    runs = [run] if run else storage.names()
    found = (read_row(storage, name, trial) for name in runs for trial in (storage / name).names(TRIALS))
    return [row for row in found if row is not None]


def read_row(storage: Storage, run: str, trial: str) -> dict[str, Any] | None:
    """The row of one trial as ``read_rows`` gives it; None where there is none (yet)."""
    path = f"{run}/{TRIALS}/{trial}/{FILE}"
    return _read(storage, path) if storage.exists(path) else None


def _read(storage: Storage, path: str) -> dict[str, Any]:
    try:
        row: dict[str, Any] = pa.ipc.open_file(pa.py_buffer(storage.read(path))).read_all().to_pylist()[0]
    except (pa.ArrowInvalid, IndexError, OSError) as error:
        raise UserError(f"{storage.path(path)}: damaged result; remove that trial's folder") from error
    if row["row_version"] != ROW_VERSION:
        raise UserError(f"{storage.path(path)}: a result of version {row['row_version']}, this is {ROW_VERSION}")
    row = {name: None for name in SCHEMA.names} | row
    row["role"] = row["role"] or SEARCH
    row["hardware"] = json.loads(row["hardware"]) if row["hardware"] else None
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
