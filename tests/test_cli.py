"""What a user meets who mistypes: one line, the nearest known name, exit code 2, nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.cli import main
from orchestrator.cli.main import build_parser


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: "), error
    return error


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("swep",), "unknown verb 'swep' (nearest: sweep"),
        (("sweep", "mcaa", "cod10k"), "unknown method 'mcaa' (nearest: mca)"),
        (("sweep", "mca", "cod1k"), "unknown dataset 'cod1k' (nearest: cod10k, cod4040)"),
        (("sweep", "mca", "cod10k", "--set", "train.lrr=1"), "unknown setting 'train.lrr' (nearest: train.lr"),
        (("sweep", "mca", "cod10k", "--backbone", "vit_bb"), "unknown value of backbone.name 'vit_bb' (nearest: vit_b"),
        (("sweep", "mca", "cod10k", "--trials", "0"), "TRIALS=0: at least 1"),
        (("sweep", "mca", "cod10k", "--epochs", "x"), "train.epochs=x: not a whole number"),
        (("sweep", "mca", "cod10k", "--seed", "1", "--set", "train.seed=2"), "train.seed is given twice"),
        (("sweep", "mca", "cod10k", "--trails", "3"), "unrecognized arguments: --trails 3"),
        (("sweep", "mca"), "the following arguments are required: DATASET"),
        (("train", "decoder", "cod10k", "--local", "--workers", "2"), "--local has one rank"),
        (("ingest", "x", "--source", "none"), "none"),
        (("ingest", "x", "--source", ".", "--layout", "folder"), "unknown layout 'folder' (nearest: folders)"),
        (("ingest", "x", "--source", ".", "--task", "polyps"), "unknown task 'polyps' (nearest: polyp)"),
        (("predict", "--run", "x", "--images", "none", "--out", "o"), "no such folder"),
        (("methods", "mac"), "unknown method 'mac' (nearest: mca)"),
        (("weights", "fetch", "vit_t"), "vit_t"),
        (("weights", "fetch"), "which one?"),
        (("train", "mca", "cod10k", "--backbone", "vit_b"), "run `samsweep weights fetch vit_b`"),
    ],
)
def test_mistakes_are_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    assert says in fails(capsys, *words)
    assert not (here / "results").exists() and not (here / "data").exists()


def test_predict_names_the_bad_image_and_the_missing_run(
    here: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = here / "images"
    images.mkdir()
    (images / "a.jpg").write_bytes(b"no image")
    assert "no run is there yet" in fails(capsys, "predict", "--run", "nothing", "--images", "images", "--out", "o")
    words = ["train", "sam", "tiny", "--local", "--epochs", "1", "--data", str(tiny_data), "--name", "zero"]
    assert main(words) == 0
    error = fails(capsys, "predict", "--run", "zero", "--images", "images", "--out", "o")
    assert "images/a.jpg" in error and "mend or remove it" in error
    assert "(nearest: zero)" in fails(capsys, "predict", "--run", "zer", "--images", "images", "--out", "o")
    assert "(nearest: single)" in fails(capsys, "predict", "--run", "zero/singel", "--images", "images", "--out", "o")
    (images / "a.png").write_bytes(b"twin")
    assert "same name" in fails(capsys, "predict", "--run", "zero", "--images", "images", "--out", "o")
    assert not (here / "o").exists()


def test_an_altered_shard_is_named(tiny_data: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    shutil.copytree(tiny_data, here / "data")
    shard = next((here / "data/tiny").glob("train-*.arrow"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255
    shard.write_bytes(data)
    error = fails(capsys, "sweep", "mca", "tiny")
    assert shard.name in error and "--replace" in error


def test_storage_that_cannot_be_written(tiny_data: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "file").write_text("")
    error = fails(capsys, "train", "mca", "tiny", "--local", "--data", str(tiny_data), "--storage", "file/below")
    assert "cannot be written" in error


def test_every_verb_has_an_example() -> None:
    _, verbs = build_parser()
    wanted = {"ingest", "datasets", "methods", "train", "sweep", "leaderboard", "predict", "doctor"}
    assert wanted <= set(verbs.choices)
    for name, parser in verbs.choices.items():
        assert f"example: samsweep {name}" in parser.format_help().replace("\n", " ")


@pytest.mark.parametrize("words", [("methods",), ("methods", "mca"), ("datasets",), ("leaderboard",), ("doctor",)])
def test_json_is_json(here: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    main([*words, "--json"])
    assert json.loads(capsys.readouterr().out)
    assert main(list(words)) in (0, 1)


def test_stand_in_is_loud(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.plan.STAND_IN_TRAIN", 9)
    monkeypatch.setattr("orchestrator.plan.STAND_IN_TEST", 2)
    assert main(["train", "decoder", "kvasir", "--local", "--epochs", "1", "--set", "train.batch=4"]) == 0
    said = capsys.readouterr()
    assert "STAND-IN" in said.err and "samsweep ingest kvasir --source DIR --out data" in said.err.replace("\n", " ")
    assert "STAND-IN" in said.out
    assert main(["leaderboard"]) == 0
    shown = capsys.readouterr().out
    assert "STAND-IN: not comparable with the paper" in shown and "published" in shown and "SAM-Adapter" in shown
    assert main(["leaderboard", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["results"]
    assert entry["stand_in"] is True


def test_names_with_brackets_are_printed_as_they_are(
    here: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "sam", "tiny", "--local", "--data", str(tiny_data), "--storage", "st [old]", "--name", "n"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"{here}/st [old]/n/trials/single/best.safetensors" in said and "--storage 'st [old]'" in said
    assert (here / "st [old]/n/overlays/sheet.png").is_file()


def test_weights_that_have_moved_can_be_given(here: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    from methods.backbone.build import build

    torch.save(build("vit_t").state_dict(), here / "my weights.pth")
    options = "backbone.checkpoint='my weights.pth' train.batch=4"
    words = ["train", "decoder", "tiny", "--local", "--epochs", "1", "--data", str(tiny_data), "--set", options]
    assert main([*words, "--name", "n"]) == 0
    (here / "moved").mkdir()
    (here / "my weights.pth").rename(here / "moved/w.pth")
    (here / "images").mkdir()
    Image.new("RGB", (40, 30)).save(here / "images/a.png")
    ask = ["predict", "--run", "n", "--images", "images", "--out", "o"]
    assert f"{here}/my weights.pth: no such checkpoint file" in fails(capsys, *ask)
    assert main([*ask, "--checkpoint", "moved/w.pth"]) == 0
    other = build("vit_t")
    other.image_encoder.pos_embed.data += 1
    torch.save(other.state_dict(), here / "other.pth")
    assert "trained on other weights of vit_t" in fails(capsys, *ask, "--checkpoint", "other.pth")


def test_a_checkpoint_of_another_size_is_refused_before_anything_starts(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from methods.backbone.build import build

    torch.save(build("vit_t").state_dict(), here / "t.pth")
    words = ("train", "mca", "cod10k", "--backbone", "vit_b", "--set", "backbone.checkpoint=t.pth")
    assert "t.pth: not a checkpoint of SAM vit_b" in fails(capsys, *words)
    assert sorted(p.name for p in here.iterdir()) == ["t.pth"]


def test_a_zero_shot_method_measures_a_test_set_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = here / "Imgs"
    source.mkdir()
    for i in range(3):
        Image.new("RGB", (40, 30), (i, 9, 9)).save(source / f"animal-{i}.jpg")
        Image.new("L", (40, 30), 255).save(source / f"animal-{i}.png")
    assert main(["ingest", "chameleon", "--source", str(here)]) == 0
    assert "has a test split only" in fails(capsys, "train", "decoder", "chameleon", "--local")
    assert main(["train", "sam", "chameleon", "--local", "--json"]) == 0
    (trial,) = json.loads(capsys.readouterr().out)["trials"]
    assert trial["status"] == "completed" and "s_measure" in trial["test"]
