from pathlib import Path

import pytest
from data_samples import encode, fails, ground, picture, put_pair, run

from orchestrator.data.schema import load_manifest
from orchestrator.storage import Storage


def break_empty_image(root: Path) -> str:
    (root / "images/p3.jpg").write_bytes(b"")
    return "images/p3.jpg: empty file"


def break_truncated_image(root: Path) -> str:
    path = root / "images/p3.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    return "images/p3.jpg: truncated"


def break_no_image(root: Path) -> str:
    (root / "images/p3.jpg").write_bytes(b"no image at all")
    return "images/p3.jpg: not an image"


def break_mask_size(root: Path) -> str:
    (root / "masks/p3.png").write_bytes(encode(ground(20, 20)))
    return "masks/p3.png: the mask has 20x20 pixels, its image 32x24"


def break_mask_values(root: Path) -> str:
    (root / "masks/p3.png").write_bytes(encode(picture()[:, :, 0]))
    return "masks/p3.png: the mask is not binary"


def break_mask_missing(root: Path) -> str:
    (root / "masks/p3.png").unlink()
    return "images/p3.jpg: it has no mask (looked for masks/p3.*)"


def break_image_missing(root: Path) -> str:
    (root / "images/p3.jpg").unlink()
    return "masks/p3.png: a mask without its image (looked for images/p3.*)"


def break_two_of_one_name(root: Path) -> str:
    (root / "images/p3.png").write_bytes(encode(picture()))
    return "images/p3.jpg: two files of one name (the other: images/p3.png)"


def break_dangling_link(root: Path) -> str:
    (root / "images/p3.jpg").unlink()
    (root / "images/p3.jpg").symlink_to(root / "gone.jpg")
    return "images/p3.jpg: cannot be read (No such file or directory)"


BREAKS = [value for name, value in sorted(globals().items()) if name.startswith("break_")]


@pytest.mark.parametrize("break_one", BREAKS)
def test_a_bad_file_is_named_and_can_be_skipped(folders: Path, tmp_path: Path, break_one: object) -> None:
    expected = break_one(folders)  # type: ignore[operator]
    message = fails(folders, tmp_path / "out")
    assert message.startswith(expected)
    assert message.endswith("; mend or remove it, or run again with --skip-bad")
    assert not (tmp_path / "out").exists()
    manifest = run(folders, tmp_path / "out", skip_bad=True)
    assert manifest.rows() == 9
    assert next(f"{s.file}: {s.reason}" for s in manifest.skipped).startswith(expected)
    assert load_manifest(Storage(str(tmp_path / "out")), "own") == manifest


def test_all_bad_files_are_named_together(folders: Path, tmp_path: Path) -> None:
    break_mask_missing(folders)
    (folders / "images/p1.jpg").write_bytes(b"")
    (folders / "images/p8.jpg").write_bytes(b"")
    message = fails(folders, tmp_path / "out")
    assert message.startswith("images/p3.jpg")
    assert "(2 more bad files: images/" in message
    for i in range(10):
        (folders / f"images/p{i}.jpg").write_bytes(b"")
    assert message != fails(folders, tmp_path / "out")
    assert fails(folders, tmp_path / "out").endswith(", ...)")


def test_nothing_usable_left(folders: Path, tmp_path: Path) -> None:
    for i in range(10):
        (folders / f"images/p{i}.jpg").write_bytes(b"")
    assert "no usable image is left" in fails(folders, tmp_path / "out", skip_bad=True)


def test_a_split_without_rows_is_no_dataset(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put_pair(tmp_path / f"own/{split}/images/a.jpg", tmp_path / f"own/{split}/masks/a.png")
    (tmp_path / "own/test/images/a.jpg").write_bytes(b"")
    assert "in split 'test'" in fails(tmp_path / "own", tmp_path / "out", skip_bad=True)
