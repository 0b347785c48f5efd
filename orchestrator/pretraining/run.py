"""`samsweep pretrain`: draw the scenes, train (or go on training) vit_t on them, write its weights and card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from segment_anything.modeling import Sam

from methods.backbone.build import build, dump_weights, read_origin
from orchestrator import checkpoint
from orchestrator.build import build_method, checkpoint_path
from orchestrator.config import with_new_settings
from orchestrator.data.schema import load_drawn
from orchestrator.errors import UserError
from orchestrator.plan import Plan, make_plan
from orchestrator.pretraining import scenes
from orchestrator.pretraining.card import hardware
from orchestrator.pretraining.recipe import METHOD, PLACE
from orchestrator.provenance import code_version
from orchestrator.results import TRIALS, read_rows
from orchestrator.single import TRIAL
from orchestrator.storage import Storage

SETTINGS_FILE = "settings.json"  #: of a run that may be continued
WEIGHTS_FILE = "vit_t.safetensors"
CARD_FILE = "vit_t.md"


def prepare_scenes(data: Storage, count: int, seed: int, progress: Callable[[int, int, str], None]) -> None:
    """Draw the scenes where they are not there yet.

    Raises:
        UserError: others are there.
    """
    if count < 1:
        raise UserError(f"SCENES={count}: at least 1")
    there = load_drawn(data, scenes.NAME)
    if there is None:
        scenes.write_scenes(data, count, seed, progress)
    elif there.split_rule != scenes.rule(count, seed):
        raise UserError(
            f"{data.uri}/{scenes.NAME}: holds other scenes ({there.split_rule}); ask for those, "
            "choose another DATA, or remove it"
        )


def make_pretraining_plan(changes: Mapping[str, Any], recipe: str, data: Storage, storage: Storage, name: str) -> Plan:
    """A plan to begin the run, or to go on with it where it is there with the same settings.

    Raises:
        UserError: it is there with other settings, or complete.
    """
    begun = storage.exists(f"{name}/{SETTINGS_FILE}")
    plan = make_plan(METHOD, scenes.NAME, changes, data, storage, name, continues=begun)
    asked = plan.settings.flat() | {"data fingerprint": plan.fingerprint}
    if not begun:
        about = {
            "recipe": recipe,
            "settings": asked,
            "hardware": hardware(),
            "torch": torch.__version__.split("+")[0],
            "code": code_version(),
            "begun_from": _begun_from(plan),
        }
        plan.run.write(SETTINGS_FILE, json.dumps(about, indent=1).encode())
        return plan
    first = with_new_settings(about_run(plan)["settings"])
    other = sorted(k for k in asked.keys() | first.keys() if asked.get(k) != first.get(k) and k not in PLACE)
    if other:
        raise UserError(
            f"run '{name}' was begun with {other[0]}={first.get(other[0])}, not {asked.get(other[0])}; "
            "say the same again, or choose another NAME"
        )
    return plan


def about_run(plan: Plan) -> dict[str, Any]:
    """What the run began with: ``recipe``, dotted ``settings``, ``hardware``, ``torch``, ``code``, ``begun_from``."""
    about: dict[str, Any] = json.loads(plan.run.read(SETTINGS_FILE))
    return about


def _begun_from(plan: Plan) -> str:
    """The history of the weights that the run starts from, as their file tells it; '' for random ones."""
    path = checkpoint_path(plan.settings)
    return "" if path is None else read_origin(path) or f"## Run 1\n\n- not told by {path.name}"


def is_begun(plan: Plan) -> bool:
    """Whether an epoch of it was kept."""
    return plan.run.exists(f"{TRIALS}/{TRIAL}/{checkpoint.FILE}")


def finished(plan: Plan) -> dict[str, Any] | None:
    """The row of a run that is complete, as ``read_rows`` reads it."""
    return next((row for row in read_rows(plan.storage, plan.name) if _is_ours(row)), None)


def _is_ours(row: dict[str, Any]) -> bool:
    return bool(row["trial"] == TRIAL and row["status"] == "completed")


def load_exported(weights: bytes) -> Sam:
    """SAM with exported weights, as anybody else will load them."""
    with TemporaryDirectory(prefix="samsweep-") as folder:
        path = Path(folder) / WEIGHTS_FILE
        path.write_bytes(weights)
        return build("vit_t", path)


def export(plan: Plan, origin: str) -> bytes:
    """The best epoch's weights as the file that ships; it tells its ``origin``."""
    method = build_method(plan.settings)
    _, tensors = checkpoint.read(plan.run / TRIALS / TRIAL)
    checkpoint.apply(method, tensors, plan.run.uri)
    return dump_weights(method.sam, origin)
