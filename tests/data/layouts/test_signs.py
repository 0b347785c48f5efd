"""Signs of Mapillary Vistas: instances out of label * 256 + instance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from data_samples import picture
from layout_samples import labels, put, samples, taken, wrong

from orchestrator.data.schema import Object

NAMES = ("construction--flat--road", "object--banner", "object--sign--store", "object--traffic-sign--front")


def put_config(path: Path, *names: str, **instances: bool) -> None:
    listed = [{"name": n, "readable": n, "color": [0, 0, 0], "evaluate": True, "instances": True} for n in names]
    for entry in listed:
        entry["instances"] = instances.get(str(entry["name"]).rpartition("--")[2], True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"folder_structure": "", "mapping": "public", "version": "2.0", "labels": listed}))


def put_street(root: Path, at: str, *values: int, splits: tuple[str, ...] = ("training", "validation")) -> None:
    for split in splits:
        put(root / f"{split}/images/_a-B.jpg", picture())
        put(root / at.format(split) / "_a-B.png", labels(*values, dtype=np.uint16))


def test_mapillary_signs(source: Path) -> None:
    root = source / "mapillary-vistas"
    put_config(root / "config_v2.0.json", *NAMES)
    put_config(root / "config_v1.2.json", "object--billboard")
    put_street(root, "{}/v2.0/instances", 0, 2 * 256 + 7, 256, 2 * 256, 3 * 256 + 1, 257)
    put(root / "testing/images/t.jpg", picture())
    dataset = taken(source, "mapillary_signs")
    train, test = samples(dataset, "train"), samples(dataset, "test")
    assert list(train) == list(test) == ["_a-B"]
    street = train["_a-B"]
    assert np.array_equal(street.labels, labels(0, 4, 1, 3, 0, 2)), (
        "in the order of labels and instances; no traffic sign"
    )
    assert street.objects == (Object(1, 0), Object(2, 0), Object(3, 3), Object(4, 3))
    assert dataset.manifest.classes[0] == "banner" and dataset.manifest.classes[3] == "store sign"
    assert "config_v2.0.json" in dataset.manifest.split_rule and not dataset.manifest.skipped


@pytest.mark.parametrize(("config", "at"), [("config.json", "{}/instances"), ("config_v1.2.json", "{}/v1.2/instances")])
def test_version_1_2_has_billboards(source: Path, config: str, at: str) -> None:
    put_config(source / config, "object--banner", "object--bench", "object--billboard", billboard=False)
    put_street(source, at, 1 * 256, 2 * 256, 3)
    (street,) = samples(taken(source, "mapillary_signs"), "train").values()
    assert np.array_equal(street.labels, labels(0, 2, 1))
    assert street.objects == (Object(1, 0), Object(2, 1, crowd=True)), "billboards were not told apart there"


def test_a_street_without_signs_stays(source: Path) -> None:
    put_config(source / "config.json", *NAMES)
    put_street(source, "{}/instances", 3 * 256)
    (street,) = samples(taken(source, "mapillary_signs"), "train").values()
    assert street.objects == () and not street.mask.any()


def test_what_does_not_fit(source: Path) -> None:
    put_street(source, "{}/instances", 256)
    assert "not the layout 'mapillary_signs', which has training/ and validation/" in wrong(source, "mapillary_signs")
    put_config(source / "config.json", "object--bench")
    assert "config.json: none of its 1 labels is a sign" in wrong(source, "mapillary_signs")
    (source / "config.json").write_text('{"labels": [3]}')
    assert "config.json: not a list of labels" in wrong(source, "mapillary_signs")
    put_config(source / "config.json", *NAMES)
    put(source / "training/instances/_a-B.png", labels(0, 1, 2))
    assert "_a-B.png: not label * 256 + instance: no value above 2; is it a class map?" in wrong(
        source, "mapillary_signs"
    )
    put(source / "training/instances/_a-B.png", labels(256, dtype=np.uint16))
    put(source / "training/instances/c.png", labels(256, dtype=np.uint16))
    assert "training/instances/c.png: a mask without its image" in wrong(source, "mapillary_signs")
    (source / "training/instances/c.png").unlink()
    put(source / "training/images/d.jpg", picture())
    assert "d.jpg: it has no mask (looked for training/instances/d.png)" in wrong(source, "mapillary_signs")
