"""From one item of a source to the row that is stored, or to what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.data.check import BadImage, BadMask
from orchestrator.data.codings import check_pair
from orchestrator.data.layouts import LAYOUTS
from orchestrator.data.layouts.base import Item
from orchestrator.data.schema import Row, Skipped, first_line


@dataclass(frozen=True)
class Source:
    """What somebody else must know to read a source's items: plain values, which travel to any node."""

    root: str
    layout: str
    coding: str
    classes: int = 0

    def read(self, item: Item) -> Row | Skipped:
        """One item, read and checked to its last pixel."""
        root, layout = Path(self.root), LAYOUTS[self.layout]
        at = item.image
        try:
            image = (root / item.image).read_bytes()
            at = item.mask
            made = layout.make(root, item)
            coding = self.coding if made.mask else "none"
            checked = check_pair(
                image,
                made.mask,
                coding,
                classes=self.classes,
                values=frozenset(o.value for o in made.objects) if made.listed else None,
                scale=layout.mask_scale,
                soft=layout.soft,
            )
        except OSError as error:
            at = _below(root, error.filename) or at
            return Skipped(at, f"cannot be read ({error.strerror or type(error).__name__})")
        except BadMask as error:
            return Skipped(item.mask or item.image, str(error))
        except BadImage as error:
            return Skipped(item.image, str(error))
        except (ValueError, LookupError, ArithmeticError) as error:  # of what a layout parses
            return Skipped(
                item.mask or item.image, f"cannot be understood ({type(error).__name__}: {first_line(error)})"
            )
        return Row(
            id=item.id,
            group=item.group,
            image=image,
            mask=made.mask,
            height=checked.height,
            width=checked.width,
            foreground_above=checked.foreground_above,
            source=item.image,
            frame=item.frame,
            coding=coding,
            objects=made.objects,
            views=made.views,
        )


def _below(root: Path, path: str | None) -> str | None:
    """A path relative to the source; None where it is none of its files."""
    return Path(path).relative_to(root).as_posix() if path and Path(path).is_relative_to(root) else None
