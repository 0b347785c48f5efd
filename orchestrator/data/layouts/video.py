"""Videos, a row a frame: DAVIS 2016, and with expressions Ref-DAVIS17 and Refer-YouTube-VOS."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.data.check import open_image
from orchestrator.data.codings import encode_labels
from orchestrator.data.layouts.base import Found, Item, Layout, Made, files
from orchestrator.data.schema import Object, Skipped
from orchestrator.errors import UserError


def frames(
    root: Path, video: str, split: str, images: str, masks: str, extra: Any = None, only: frozenset[str] | None = None
) -> Iterator[Item | Skipped]:
    """A video's frames as items. Where ``masks`` is '' there are none."""
    for name in files(root / images / video):
        number = name.removesuffix(".jpg")
        if number == name or (only is not None and number not in only):
            continue
        image, mask = f"{images}/{video}/{name}", f"{masks}/{video}/{number}.png" if masks else ""
        if mask and not (root / mask).exists():
            yield Skipped(image, f"it has no mask (looked for {mask})")
        else:
            yield Item(f"{video}/{number}", split, image, mask, video, int(number), extra)


@dataclass(frozen=True)
class Davis2016(Layout):
    """ImageSets/480p/SPLIT.txt lists image and mask a line; the 2017 zip's ImageSets/2016 lists videos."""

    def find(self, source: Path) -> Found:
        root, folder = self.locate(source, _lists)

        def told() -> Iterator[Item | Skipped]:
            for file, split in (("train.txt", "train"), ("val.txt", "test")):
                for video in _videos(root / folder / file):
                    yield from frames(root, video, split, "JPEGImages/480p", "Annotations/480p")

        return self.found(root, told())

    def make(self, root: Path, item: Item) -> Made:
        """Whatever is not 0 is foreground: the 2017 zip tells several objects apart."""
        made = super().make(root, item)
        image = open_image(made.mask)
        values = np.asarray(image if image.mode in ("L", "P") else image.convert("L"))
        if image.mode == "L" and np.isin(values, (0, 255)).all():
            return made
        return Made(encode_labels((values > 0) * np.uint8(255)))


def _lists(root: Path) -> str | None:
    """Where DAVIS 2016's lists lie below ``root``."""
    for folder in ("ImageSets/480p", "ImageSets/2016"):
        if (root / folder / "train.txt").exists() and (root / "JPEGImages/480p").is_dir():
            return folder
    return None


def _videos(path: Path) -> list[str]:
    """The videos of a list: a name a line, or a line a frame with image and mask."""
    lines = path.read_text("utf-8").split("\n") if path.exists() else []
    names = [line.split()[0].strip("/") for line in lines if line.strip()]
    return list(dict.fromkeys(name.split("/")[-2] if "/" in name else name for name in names))


DAVIS2016 = Davis2016(
    "davis2016",
    "JPEGImages/480p/, Annotations/480p/ and ImageSets/480p/ (or ImageSets/2016/) with train.txt and val.txt",
    rule="the official split; val, which the papers report, is the test split",
    coding="binary",
)

TEXTS = "davis_text_annotations"
#: File, and its encoding: the second annotator's are not UTF-8.
_ANNOTATORS = (
    ("Davis17_annot1.txt", "utf-8"),
    ("Davis17_annot1_full_video.txt", "utf-8"),
    ("Davis17_annot2.txt", "latin-1"),
    ("Davis17_annot2_full_video.txt", "latin-1"),
)
_MISSPELT = {"clasic-car": "classic-car", "dog-scale": "dogs-scale", "motor-bike": "motorbike"}
_LINE = re.compile(r"(\S+)\s+(\d+)\s+(.*\S)")


@dataclass(frozen=True)
class RefDavis17(Layout):
    """DAVIS 2017 with two annotators' expressions, for the first frame and for the whole video."""

    def find(self, source: Path) -> Found:
        root, texts = self.locate(source, _texts)
        # expressions count the objects of the unsupervised masks, where those are there
        masks = next(m for m in ("Annotations_unsupervised/480p", "Annotations/480p") if (root / m).is_dir())
        objects = _expressions(texts)

        def told() -> Iterator[Item | Skipped]:
            for file, split in (("train.txt", "train"), ("val.txt", "test")):
                for video in _videos(root / "ImageSets/2017" / file):
                    yield from frames(root, video, split, "JPEGImages/480p", masks, objects.get(video, ()))

        return self.found(root, told())

    def make(self, root: Path, item: Item) -> Made:
        return Made(super().make(root, item).mask, item.extra)


def _texts(root: Path) -> Path | None:
    """The folder of expressions, in ``root`` or beside it."""
    held = (root / "ImageSets/2017/train.txt").exists() and (root / "Annotations/480p").is_dir()
    folder = next((f for f in (root / TEXTS, root.parent / TEXTS) if f.is_dir()), None)
    return folder if held else None


def _expressions(folder: Path) -> dict[str, tuple[Object, ...]]:
    """Each video's objects with what is said of them, in the order of annotators."""
    said: dict[str, dict[int, list[str]]] = {}
    for file, encoding in _ANNOTATORS:
        path = folder / file
        for number, line in enumerate(path.read_text(encoding).splitlines(), 1):
            if not line.strip():
                continue
            if not (match := _LINE.fullmatch(line.strip())):
                raise UserError(f"{path}: line {number} is not 'video object \"expression\"'; download it again")
            video, value, text = match.groups()
            said.setdefault(_MISSPELT.get(video, video), {}).setdefault(int(value), []).append(text[1:-1])
    return {
        video: tuple(Object(value, texts=tuple(texts)) for value, texts in sorted(objects.items()))
        for video, objects in said.items()
    }


REFDAVIS17 = RefDavis17(
    "refdavis17",
    f"DAVIS 2017 (JPEGImages/, Annotations/, ImageSets/2017/) and {TEXTS}/ in it or beside it",
    rule="the official split; val, which the papers report, is the test split",
    coding="instances",
)

EXPRESSIONS = "meta_expressions/{}/meta_expressions.json"


@dataclass(frozen=True)
class ReferYoutube(Layout):
    """train/ has masks. valid/ has none: its scores come from the benchmark's server."""

    def find(self, source: Path) -> Found:
        root = self.locate_paths(source, "train/JPEGImages", "train/Annotations", EXPRESSIONS.format("train"))
        train, valid = _told(root, "train"), _told(root, "valid")
        hidden = _told(root, "test")  # the list of valid holds those of test, too

        def told() -> Iterator[Item | Skipped]:
            for video, about in train.items():
                yield from _frames(root, video, about, "train", "train", "train/Annotations")
            for video, about in valid.items():
                if video not in hidden:
                    yield from _frames(root, video, about, "valid", "test", "")

        return self.found(root, told())

    def make(self, root: Path, item: Item) -> Made:
        return Made(super().make(root, item).mask, item.extra)


def _frames(
    root: Path, video: str, about: dict[str, Any], folder: str, split: str, masks: str
) -> Iterator[Item | Skipped]:
    """The annotated frames of a video."""
    texts: dict[int, list[str]] = {}
    for _, one in sorted(about["expressions"].items(), key=lambda pair: int(pair[0])):
        # without masks nobody tells which object is meant: each expression is one of its own
        value = int(one["obj_id"]) if "obj_id" in one else len(texts) + 1
        texts.setdefault(value, []).append(" ".join(one["exp"].split()))
    objects = tuple(Object(value, texts=tuple(said)) for value, said in sorted(texts.items()))
    yield from frames(root, video, split, f"{folder}/JPEGImages", masks, objects, frozenset(about["frames"]))


def _told(root: Path, split: str) -> dict[str, Any]:
    """The videos of a split's expressions; none where it has no such file."""
    path = root / EXPRESSIONS.format(split)
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8"))["videos"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}); download it again") from error


REFERYOUTUBE = ReferYoutube(
    "referyoutube",
    "train/ (and valid/) with JPEGImages/, train/Annotations/, and meta_expressions/",
    rule="the official split; valid, whose masks are not public, is the test split",
    coding="instances",
)
