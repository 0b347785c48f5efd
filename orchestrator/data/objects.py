"""What a prompt may ask for in a sample: its objects, parts or regions, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from orchestrator.data.codings import VOID
from orchestrator.data.layers import layer
from orchestrator.data.reader import Sample

Nested = Mapping[int, frozenset[int]]  #: by the class of a whole, the classes of its parts
NOTHING: Nested = MappingProxyType({})
LEAST = 10  #: pixels; what annotation leaves below that is a crumb, and no prompt can mean it
_ALL_AROUND = np.ones((3, 3), np.bool_)  # pixels that touch at a corner belong together


@dataclass(frozen=True)
class Target:
    """One of them, as a crop: a picture may hold hundreds."""

    crop: NDArray[np.bool_]  #: (y1 - y0)x(x1 - x0), touching all four sides of its box
    box: tuple[int, int, int, int]  #: y0, x0, y1, x1 in the mask's pixels, y1 and x1 outside
    category: int = 0  #: a class number; 0 where there is one class, or none is known

    @property
    def area(self) -> int:
        """In pixels of the mask."""
        return int(np.count_nonzero(self.crop))

    def full(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Its mask in a picture of (height, width)."""
        mask = np.zeros(shape, np.bool_)
        y0, x0, y1, x1 = self.box
        mask[y0:y1, x0:x1] = self.crop
        return mask


def objects_of(
    sample: Sample, least: int = LEAST, left_out: frozenset[int] = frozenset(), nested: Nested = NOTHING
) -> list[Target]:
    """What may be asked for, in a fixed order: by layer, by value, by class, or as a scan meets the components.

    Args:
        sample: of any coding. A binary mask's objects are its connected components (8 neighbours), a class map's
            the whole region of each class. Crowds and void are no objects; a mask that is not there has none.
        least: pixels that an object must have.
        left_out: classes that are not asked for, such as 'background'.
        nested: of a class map: a whole's region has those of its parts in it, so that a point there may mean either.

    Raises:
        ValueError: a coding that has no objects.
    """
    if sample.coding not in _FINDERS:
        raise ValueError(f"coding '{sample.coding}' has no objects; one of {', '.join(_FINDERS)}")
    found = _classes(sample, nested) if sample.coding == "classes" else _FINDERS[sample.coding](sample)
    return [target for target in found if target.category not in left_out and target.area >= least]


def _none(sample: Sample) -> Iterator[Target]:
    return iter(())


def _components(sample: Sample) -> Iterator[Target]:
    numbered, _ = ndimage.label(sample.mask, _ALL_AROUND)
    for value, at in _boxes(numbered):
        yield _target(numbered[at] == value, at, 0)


def _layers(sample: Sample) -> Iterator[Target]:
    if sample.bits is None:
        return
    for k in range(sample.layers):
        mask = layer(sample.bits, k)
        for _, at in _boxes(mask.astype(np.uint8)):
            yield _target(mask[at], at, 0)


def _classes(sample: Sample, nested: Nested = NOTHING) -> Iterator[Target]:
    if sample.labels is None:
        return
    for value, at in _boxes(sample.labels + 1):  # class 0 is one like the others
        category = value - 1
        if category in nested:
            whole = np.isin(sample.labels, [category, *nested[category]])
            (around,) = ndimage.find_objects(whole.view(np.uint8))
            yield _target(whole[around], around, category)
        elif category != VOID:
            yield _target(sample.labels[at] == category, at, category)


def _instances(sample: Sample) -> Iterator[Target]:
    """Each value but 0: instances, and the segments of a panoptic map."""
    if sample.labels is None:
        return
    told = {one.value: one for one in sample.objects}
    crowds = {one.value for one in sample.objects if one.crowd}
    values, numbered = _dense(sample.labels)
    for number, at in _boxes(numbered):
        value = int(values[number])
        if value != 0 and value not in crowds:
            yield _target(numbered[at] == number, at, max(0, told[value].category) if value in told else 0)


def _dense(labels: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Values in rising order, and labels renumbered by their place among them: a segment's id may be 16 million.

    Place 0 is always value 0.
    """
    top = int(labels.max(initial=0))
    if top < 2**16:  # few enough for ``find_objects``, which makes a box for every number up to the highest
        return np.arange(top + 1, dtype=np.int32), labels
    flat = labels.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[0] - 1))  # of runs: far fewer to sort than pixels
    values, places = np.unique(np.append(flat[starts], np.int32(0)), return_inverse=True)
    lengths = np.diff(starts, append=len(flat))
    return values, np.repeat(places[:-1].astype(np.int32), lengths).reshape(labels.shape)


def _boxes(numbered: NDArray[np.integer]) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """The values above 0 that are there, each with its box."""
    for value, at in enumerate(ndimage.find_objects(numbered), 1):
        if at is not None:
            yield value, at


def _target(crop: NDArray[np.bool_], at: tuple[slice, slice], category: int) -> Target:
    return Target(crop, (at[0].start, at[1].start, at[0].stop, at[1].stop), category)


_FINDERS: dict[str, Callable[[Sample], Iterator[Target]]] = {
    "none": _none,
    "binary": _components,
    "layers": _layers,
    "classes": _classes,
    "instances": _instances,
    "panoptic": _instances,
}
