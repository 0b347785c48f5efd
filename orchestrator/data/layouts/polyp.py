"""Kvasir-SEG, which has no folders for its split but published lists of names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from orchestrator.data.layouts.base import Found
from orchestrator.data.layouts.folders import Pairs, Part


@dataclass(frozen=True)
class Listed(Pairs):
    """Pairs whose test split is a published list of names (``lists/``)."""

    test_list: str = ""

    def find(self, source: Path) -> Found:
        """As ``Pairs``; what is not on the list trains. The split is drawn where no name is on it."""
        found = super().find(source)
        listed = set(names(self.test_list))
        test = {item.id for item in found.items} & listed
        if not test:
            found.split_rule = ""
            found.notes.append(f"no name is on the published list {self.test_list}")
            return found
        found.items = [replace(item, split="test" if item.id in test else "train") for item in found.items]
        if missing := len(listed) - len(test):
            found.notes.append(f"{missing} of its {len(listed)} names are not there")
        return found


def names(file: str) -> list[str]:
    """The ids on one of the lists."""
    text = (resources.files("orchestrator.data.layouts") / "lists" / file).read_text("utf-8")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


_FORMS = ((Part("", ("images",), ("masks",)),),)

KVASIR = Listed(
    "kvasir",
    "images/ and masks/",
    coding="binary",
    rule="880/120, the authors' published list (kvasir_880_120.txt)",
    forms=_FORMS,
    test_list="kvasir_880_120.txt",
)

KVASIR900 = Listed(
    "kvasir900",
    "images/ and masks/",
    coding="binary",
    rule="900/100, the polyp benchmark's published list (kvasir_900_100.txt)",
    forms=_FORMS,
    test_list="kvasir_900_100.txt",
)
