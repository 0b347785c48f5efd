"""Images without labels: a folder of them, with train/ and test/ in it or without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.data.layouts.base import ANY, Found, Item, Layout, files, stem, suffix
from orchestrator.data.schema import Skipped


@dataclass(frozen=True)
class Unlabelled(Layout):
    """Every image is a row; a sub-folder is no group, for one may hold all of them."""

    def find(self, source: Path) -> Found:
        root, _ = self.locate(source, lambda folder: True if any(_images(folder)) else None)
        split = all((root / name).is_dir() for name in ("train", "test"))

        def told() -> Iterator[Item | Skipped]:
            for name in _images(root):
                where, _, rest = name.partition("/")
                if not split:
                    yield Item(stem(name), "", name)
                elif where in ("train", "test") and rest:
                    yield Item(stem(rest), where, name)

        return self.found(root, told(), split_rule="its own folders train/ and test/" if split else "")


def _images(folder: Path) -> Iterator[str]:
    return (name for name in files(folder, nested=True) if suffix(name).lower() in ANY)


UNLABELLED = Unlabelled("unlabelled", "images, perhaps in train/ and test/", coding="classes")
