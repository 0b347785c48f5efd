"""A recorded trial once more: its row by name, its data found again, and a plan that trains the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from methods.backbone.build import build, fingerprint
from orchestrator.build import checkpoint_path, starts_random
from orchestrator.data.schema import load_manifest
from orchestrator.errors import UserError
from orchestrator.plan import STAND_IN_FOLDER, Plan, make_plan
from orchestrator.predict import trial_folder
from orchestrator.results import read_row
from orchestrator.storage import Storage


def recorded(storage: Storage, name: str) -> dict[str, Any]:
    """The row of ``RUN/TRIAL``, or of the best completed trial of ``RUN``.

    Raises:
        UserError: there is no such run or trial, or it is not over yet.
    """
    folder = trial_folder(storage, name)
    run, trial = folder.parent.parent.name, folder.name
    row = read_row(storage, run, trial)
    if row is None:
        raise UserError(f"trial '{run}/{trial}' has no record yet; wait for its end")
    return row


def plan_again(
    storage: Storage,
    row: Mapping[str, Any],
    run: str,
    data: str | None = None,
    changes: Mapping[str, Any] | None = None,
    continues: bool = False,
) -> Plan:
    """A plan with a recorded trial's settings, on the same data and from the same backbone.

    Args:
        run: the name of the run that it is for.
        data: where the data lie now; by default, where they lay.
        changes: dotted settings that shall be others.
        continues: the run may be there.

    Raises:
        UserError: the data or the backbone's weights are others than the trial's, or what ``make_plan`` raises.
    """
    settings = {key: value for key, value in row["settings"].items() if key not in ("method", "dataset")}
    root = find_again(row, data)
    plan = make_plan(
        row["method"], row["dataset"], {**settings, **(changes or {})}, root, storage, run, continues=continues
    )
    _check_backbone(plan, row)
    return plan


def find_again(row: Mapping[str, Any], data: str | None = None) -> Storage:
    """The root that holds a trial's dataset: under ``data``, or where it lay."""
    name, dataset, wanted = f"{row['run']}/{row['trial']}", row["dataset"], row["data_fingerprint"]
    where = data or row["data"]
    if where is None:
        raise UserError(f"trial '{name}': its record is too old to say where its data lie; give --data")
    others = []
    for root in (Storage(where), Storage(where) / STAND_IN_FOLDER):
        manifest = load_manifest(root, dataset)
        if manifest is not None and manifest.fingerprint == wanted:
            return root
        if manifest is not None:
            others.append(f"{root.uri}: dataset '{dataset}' has fingerprint {manifest.fingerprint[:12]}")
    if others:
        raise UserError(f"{others[0]}, trial '{name}' was trained on {wanted[:12]}; give --data where that one lies")
    raise UserError(f"{where}: has no dataset '{dataset}', which trial '{name}' was trained on; give --data")


def _check_backbone(plan: Plan, row: Mapping[str, Any]) -> None:
    """Raise UserError where a trial began from other weights than those that are here."""
    if row["backbone_fingerprint"] is None:
        return
    settings = plan.settings
    now = fingerprint(build(settings.backbone.name, checkpoint_path(settings), starts_random(settings)))
    if now != row["backbone_fingerprint"]:
        raise UserError(
            f"trial '{row['run']}/{row['trial']}' began from other weights of {settings.backbone.name} "
            f"(fingerprint {row['backbone_fingerprint']}, here {now}); bring those back"
        )
