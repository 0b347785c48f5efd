import json

import pytest

from orchestrator.data.schema import SCHEMA_VERSION, Manifest, Shard, Skipped, fingerprint, load_manifest
from orchestrator.errors import UserError
from orchestrator.storage import Storage


def manifest() -> Manifest:
    splits = {"train": (Shard("train-0.arrow", 3, 100, "ab" * 32),), "test": (Shard("t.arrow", 1, 9, "cd" * 32),)}
    return Manifest(
        name="own",
        schema_version=SCHEMA_VERSION,
        task="polyp",
        layout="folders",
        split_rule="80/20",
        stand_in=True,
        splits=splits,
        skipped=(Skipped("a.jpg", "empty file"),),
        fingerprint=fingerprint("polyp", splits),
    )


def test_json_round_trip() -> None:
    assert Manifest.from_json(manifest().to_json(), "m") == manifest()
    assert (manifest().rows(), manifest().rows("test")) == (4, 1)


def test_fingerprint_depends_on_task_split_and_order() -> None:
    a, b = Shard("a", 1, 1, "aa"), Shard("b", 1, 1, "bb")
    prints = {
        fingerprint("polyp", {"train": (a, b)}),
        fingerprint("shadow", {"train": (a, b)}),
        fingerprint("polyp", {"train": (b, a)}),
        fingerprint("polyp", {"train": (a,), "test": (b,)}),
        fingerprint("polyp", {"train": (a,)}),
    }
    assert len(prints) == 5
    assert fingerprint("polyp", {"train": (Shard("z", 9, 9, "aa"), b)}) in prints


def test_another_schema_version() -> None:
    raw = {**json.loads(manifest().to_json()), "schema_version": 1}
    with pytest.raises(UserError, match=r"m: schema version 1, but this program reads 3; .*--replace"):
        Manifest.from_json(json.dumps(raw), "m")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"schema_version": "x"}', '{"schema_version": 3}', b"\xff\xfe\x00"]
)
def test_damaged(text: str | bytes) -> None:
    with pytest.raises(UserError, match=r"m: damaged .*--replace") as caught:
        Manifest.from_json(text, "m")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"splits": []}, {"splits": {"train": [{}]}}, {"skipped": None}, {"task": "x"}])
def test_damaged_in_one_field(change: dict[str, object]) -> None:
    with pytest.raises(UserError, match="damaged"):
        Manifest.from_json(json.dumps({**json.loads(manifest().to_json()), **change}), "m")


def test_load(tmp_path: object) -> None:
    root = Storage(str(tmp_path))
    assert load_manifest(root, "own") is None
    root.write("own/manifest.json", manifest().to_json().encode())
    assert load_manifest(root, "own") == manifest()
