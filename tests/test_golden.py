"""The loss curve of every method through the real command, on a tiny setting, against stored values.

To store new ones after a change that is meant to move them: SAMSWEEP_GOLDEN=write make test
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from panoramas import write_panoramas, write_views

from methods import registry
from orchestrator.cli import main
from orchestrator.storage import Storage

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Views with labels and panoramas without, for methods that name pixels."""
    folder = tmp_path_factory.mktemp("streets")
    write_views(Storage(str(folder)), train=12, test=4)
    write_panoramas(Storage(str(folder)), train=12, test=4)
    return folder


#: Methods that name pixels: their data set, and what makes them quick.
LABELLERS = {
    "segformer": ("cityscapes", ""),
    "goodsam": ("densepass", " method.points=4 method.source_epochs=2"),
}


#: Its clicks are drawn from its own errors: at a high rate, rounding grows to another training within three epochs.
RATES = {"promptable": "1e-5"}


@pytest.mark.parametrize("method", registry.names())
def test_loss_curve(
    method: str, tiny_data: Path, streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, more = LABELLERS.get(method, ("tiny", ""))
    options = f"train.batch=4 train.precision=fp32 train.lr={RATES.get(method, '1e-3')}{more}"
    words = ["train", method, dataset, "--local", "--json", "--epochs", "3", "--set", options]
    data = streets if method in LABELLERS else tiny_data
    assert main([*words, "--data", str(data), "--storage", str(tmp_path)]) == 0
    (trial,) = json.loads(capsys.readouterr().out)["trials"]
    curve = {
        "order": [e["order"] for e in trial["epochs"]],
        "losses": [e["losses"] for e in trial["epochs"]],
        "val": [e["val"] for e in trial["epochs"]],
        "test": trial["test"],
    }
    path = GOLDEN / f"{method}.json"
    if os.environ.get("SAMSWEEP_GOLDEN") == "write":
        path.write_text(json.dumps(curve, indent=1, sort_keys=True) + "\n")
    expected = json.loads(path.read_text())
    assert curve["order"] == expected["order"]
    for found, stored in zip(curve["losses"], expected["losses"], strict=True):
        assert found == pytest.approx(stored, rel=1e-4)
    for found, stored in zip([*curve["val"], curve["test"]], [*expected["val"], expected["test"]], strict=True):
        assert found == pytest.approx(stored, rel=0.02, abs=0.02)
