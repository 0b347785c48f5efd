"""Stanford2D3D's panoramas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from data_samples import picture
from layout_samples import HIGH, WIDE, labels, put, samples, taken

from orchestrator.data.codings import VOID


def test_stanford2d3d(source: Path) -> None:
    names = ["<UNK>_0_<UNK>_0_0", "beam_10_hallway_6_1", *(f"clutter_{i}_office_1_5" for i in range(400))]
    names += ["window_2_office_1_5"]
    (source / "assets").mkdir()
    (source / "assets/semantic_labels.json").write_text(json.dumps(names))
    last = len(names) - 1
    colours = np.zeros((HIGH, WIDE, 3), np.uint8)
    colours[:, 8:16] = (0, 0, 1)
    colours[:, 16:24] = (0, last // 256, last % 256)
    colours[:, 24:] = 0x0D
    for area in ("1", "5a", "5b"):
        at, name = source / f"area_{area}/pano", "camera_0ccf_office_1_frame_equirectangular_domain"
        put(at / f"rgb/{name}_rgb.png", np.dstack([picture(), np.full((HIGH, WIDE), 255, np.uint8)]))
        put(at / f"semantic/{name}_semantic.png", colours)
        put(at / f"semantic_pretty/{name}_semantic_pretty.png", picture())
    dataset = taken(source, "stanford2d3d")
    assert {s.group for s in samples(dataset, "test").values()} == {"area_5"}
    assert dataset.manifest.rows("test") == 2
    (one,) = samples(dataset, "train").values()
    assert np.array_equal(one.labels, labels(VOID, 0, 12, VOID))
