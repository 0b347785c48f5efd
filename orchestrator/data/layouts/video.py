"""Videos, a row a frame: DAVIS 2016, and with expressions Ref-DAVIS17 and Refer-YouTube-VOS."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.data.check import open_image
from orchestrator.data.codings import encode_labels
from orchestrator.data.layouts.base import Found, Item, Layout, Made, files, is_number, read_json, read_text, stem
from orchestrator.data.schema import Object, Skipped
from orchestrator.errors import UserError


def frames(
    root: Path, video: str, split: str, images: str, masks: str, extra: Any = None, only: Iterable[str] | None = None
) -> Iterator[Item | Skipped]:
    """A video's frames as items: ``only`` those that a list names, or all that have an image or a mask.

    What is listed, or has a mask, but no image is told as well. Where ``masks`` is '' there are none.
    """
    shown, masked = _frames(root / images / video, ".jpg"), _frames(root / masks / video, ".png") if masks else set()
    for number in sorted(shown | masked if only is None else set(only)):
        image, mask = f"{images}/{video}/{number}.jpg", f"{masks}/{video}/{number}.png" if masks else ""
        if number not in shown:
            yield Skipped(image, "is not there, but its mask is" if only is None else "is not there, but is listed")
        elif mask and number not in masked:
            yield Skipped(image, f"it has no mask (looked for {mask})")
        else:
            yield Item(f"{video}/{number}", split, image, mask, video, int(number), extra)


def _frames(folder: Path, end: str) -> set[str]:
    """The numbers of the frames in a video's folder; what has no number is none."""
    names = files(folder) if folder.is_dir() else ()
    return {name.removesuffix(end) for name in names if name.endswith(end) and is_number(name.removesuffix(end))}


@dataclass(frozen=True)
class Davis2016(Layout):
    """ImageSets/480p/SPLIT.txt lists image and mask a line; the 2017 zip's ImageSets/2016 lists videos."""

    def find(self, source: Path) -> Found:
        root, folder = self.locate(source, _lists)

        def told() -> Iterator[Item | Skipped]:
            for file, split in (("train.txt", "train"), ("val.txt", "test")):
                for video, listed in _videos(root / folder / file).items():
                    yield from frames(root, video, split, "JPEGImages/480p", "Annotations/480p", only=listed or None)

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


def _videos(path: Path) -> dict[str, list[str]]:
    """The videos of a list, with their frames where it has a line a frame (image and mask) and not a video's name."""
    videos: dict[str, list[str]] = {}
    for line in read_text(path).split("\n") if path.exists() else ():
        if line.strip():
            *folders, name = line.split()[0].strip("/").split("/")
            if folders:
                videos.setdefault(folders[-1], []).append(stem(name))
            else:
                videos.setdefault(name, [])
    return videos


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
        for number, line in enumerate(read_text(path, encoding).split("\n"), 1):
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
        shown = {video for video in valid if (root / "valid/JPEGImages" / video).is_dir()}
        # without the list of test, what has no folder may be one of its videos
        tested = [video for video in valid if (video not in hidden if hidden else video in shown)]

        def told() -> Iterator[Item | Skipped]:
            for video, about in train.items():
                yield from frames(
                    root, video, "train", "train/JPEGImages", "train/Annotations", about.objects, about.frames
                )
            for video in tested:
                about = valid[video]
                yield from frames(root, video, "test", "valid/JPEGImages", "", about.objects, about.frames)

        found = self.found(root, told())
        if valid and not hidden:
            found.notes.append("no list of the hidden test videos was there: valid may hold some of them")
        return found

    def make(self, root: Path, item: Item) -> Made:
        return Made(super().make(root, item).mask, item.extra)


@dataclass(frozen=True)
class _About:
    """What the expressions' file says of a video."""

    frames: tuple[str, ...]
    objects: tuple[Object, ...]


def _told(root: Path, split: str) -> dict[str, _About]:
    """The videos of a split's expressions; none where it has no such file."""
    path = root / EXPRESSIONS.format(split)
    if not path.exists():
        return {}
    try:
        videos = read_json(path, dict)["videos"]
        return {str(video): _about(told) for video, told in videos.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}: {error}); download it again") from error


def _about(told: dict[str, Any]) -> _About:
    texts: dict[int, list[str]] = {}
    for _, one in sorted(told["expressions"].items(), key=lambda pair: int(pair[0])):
        # without masks nobody tells which object is meant: each expression is one of its own
        value = int(one["obj_id"]) if "obj_id" in one else len(texts) + 1
        texts.setdefault(value, []).append(" ".join(one["exp"].split()))
    numbers = tuple(str(number) for number in told["frames"])
    if not all(is_number(number) for number in numbers):
        raise ValueError("a frame that is no number")
    return _About(numbers, tuple(Object(value, texts=tuple(said)) for value, said in sorted(texts.items())))


REFERYOUTUBE = ReferYoutube(
    "referyoutube",
    "train/ (and valid/) with JPEGImages/, train/Annotations/, and meta_expressions/",
    rule="the official split; valid, whose masks are not public, is the test split",
    coding="instances",
)
