"""What a layout is: how a dataset lies on disk, told as items, and how one item's mask is made."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.data.schema import Object, Skipped, View
from orchestrator.errors import UserError

T = TypeVar("T")

JPG = frozenset({".jpg", ".jpeg"})
PNG = frozenset({".png"})
ANY = JPG | PNG | {".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm"}
SPLITS = ("train", "val", "test")
_LITTER = {"thumbs.db", "desktop.ini", "__macosx"}


@dataclass(frozen=True, slots=True)
class Item:
    """A row to be. Paths are relative to the root that was found; there may be a hundred thousand of them."""

    id: str
    split: str  #: '' where the layout has none
    image: str
    mask: str = ""  #: the file (or whatever the layout makes a mask of); '' where there is none
    group: str = ""
    frame: int = 0
    extra: Any = None  #: what no file of its own says: small, and free to be pickled


@dataclass
class Found:
    """What a source folder holds."""

    root: Path  #: the folder that holds the layout
    items: list[Item] = field(default_factory=list)  #: in the end by split (train, val, test), then by id
    problems: list[Skipped] = field(default_factory=list)  #: missing masks and the like
    split_rule: str = ""  #: '' where it is still to be drawn
    notes: list[str] = field(default_factory=list)  #: what else the manifest shall say of the split
    classes: tuple[str, ...] = ()
    coding: str = "binary"
    splits: frozenset[str] = frozenset()  #: of the source, whatever is usable in them; empty: those of the items

    def name(self, path: Path) -> str:
        """A path as messages tell it: below the root."""
        return path.relative_to(self.root).as_posix()


@dataclass(frozen=True)
class Made:
    """An item's mask, encoded, and what it shows."""

    mask: bytes = b""  #: empty: there is none
    objects: tuple[Object, ...] = ()
    views: tuple[View, ...] = ()
    listed: bool = False  #: ``objects`` lists every value of the mask


@dataclass(frozen=True)
class Layout:
    """One way to lay out a dataset."""

    name: str
    expected: str  #: in words, for the error
    rule: str = ""  #: how the split came about; '' where it is drawn by seed
    coding: str = ""  #: of its masks (``data.codings``); '' where the task says it
    classes: tuple[str, ...] = ()
    #: By the name of a whole the parts that lie on it: a prompt for it means them, too, where it is shown.
    wholes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    mask_scale: float = 1  #: a mask's size, of its image's
    soft: bool = False  #: binary masks may be grey all over (antialiased): 127 is the threshold, whatever they hold

    def find(self, source: Path) -> Found:
        """The items under ``source``. Raises UserError where it does not hold the layout."""
        raise NotImplementedError

    def sources(self, root: Path, item: Item) -> list[str]:
        """The files that an item is made of; who goes on with an ingest looks whether they are the same still."""
        return [path for path in (item.image, item.mask) if path]

    def make(self, root: Path, item: Item) -> Made:
        """The mask of one item: its file as it is. Raises OSError, BadMask, ValueError (or one of its kin)."""
        return Made((root / item.mask).read_bytes() if item.mask else b"")

    def locate(self, source: Path, holds: Callable[[Path], T | None]) -> tuple[Path, T]:
        """The folder that ``holds`` the layout, and what that told.

        Looks in ``source``, then in its sub-folders, then in theirs. Raises UserError where no folder holds
        the layout, or several do.
        """
        level = [source]
        for _ in range(3):
            held = [(root, told) for root in level if (told := holds(root)) is not None]
            if len(held) > 1:
                names = ", ".join(root.relative_to(source).as_posix() for root, _ in held[:4])
                raise UserError(
                    f"{source}: several folders hold the layout '{self.name}' ({names}); give one of them with --source"
                )
            if held:
                return held[0]
            level = [folder for root in level for folder in subfolders(root)]
        there = ", ".join(sorted(p.name + ("/" if p.is_dir() else "") for p in visible(source))[:12])
        raise UserError(f"{source}: not the layout '{self.name}', which has {self.expected}; found there: {there}")

    def locate_paths(self, source: Path, *paths: str) -> Path:
        """The folder under which all ``paths`` are there. Raises UserError as ``locate``."""
        root, _ = self.locate(source, lambda root: True if all((root / p).exists() for p in paths) else None)
        return root

    def found(self, root: Path, told: Iterable[Item | Skipped], **more: Any) -> Found:
        """Its answer to ``find``: what was ``told``, in order. Raises UserError where that is nothing."""
        items: list[Item] = []
        problems: list[Skipped] = []
        for one in told:
            if isinstance(one, Item):
                items.append(one)
            else:
                problems.append(one)
        if not items and not problems:
            raise UserError(f"{root}: no images of the layout '{self.name}'; look whether the download is complete")
        about = {"split_rule": self.rule, "classes": self.classes, "coding": self.coding or "binary"}
        return Found(root, items, problems, **{**about, **more})


def orphans(masks: Mapping[str, str], seen: Container[str]) -> Iterator[Skipped]:
    """Masks (paths by id) whose image was not seen: one of the two was lost or misnamed."""
    for key in sorted(masks):
        if key not in seen:
            yield Skipped(masks[key], "a mask without its image")


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """A text file. Raises UserError where it is none."""
    try:
        return path.read_text(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not {encoding.upper()} text ({error.reason}); download it again") from error


def read_json(path: Path, kind: type[T]) -> T:
    """A JSON file that holds a ``kind`` (dict or list). Raises UserError where it does not."""
    try:
        found = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); download it again") from error
    if not isinstance(found, kind):
        raise UserError(f"{path}: a {type(found).__name__}, not a {kind.__name__}; download it again")
    return found


def is_number(text: str) -> bool:
    """Whether a name is a plain number."""
    return text.isascii() and text.isdigit()


def visible(folder: Path) -> list[Path]:
    """What lies in a folder, sorted by name, without what operating systems leave behind."""
    return sorted(p for p in folder.iterdir() if is_visible(p.name))


def is_visible(name: str) -> bool:
    """Whether a name is no hidden file and nothing that operating systems leave behind."""
    return not name.startswith(".") and name.lower() not in _LITTER


def subfolders(folder: Path) -> list[Path]:
    """The visible folders in a folder, sorted by name."""
    return [path for path in visible(folder) if path.is_dir()]


def files(folder: Path, nested: bool = False) -> Iterator[str]:
    """The visible files of a folder (and of those below it, where ``nested``), sorted; paths below ``folder``."""
    with os.scandir(folder) as found:
        entries = sorted((e.name, e.is_dir()) for e in found if is_visible(e.name))
    for name, is_folder in entries:
        if not is_folder:
            yield name
        elif nested:
            yield from (f"{name}/{below}" for below in files(folder / name, nested))


def stem(name: str) -> str:
    """A path without its last suffix."""
    return name[: -len(suffix(name))] if suffix(name) else name


def suffix(name: str) -> str:
    """The last suffix of a path, as it is written."""
    last = name.rpartition("/")[2].lstrip(".")
    return last[last.rindex(".") :] if "." in last else ""
