"""Streets as pinhole views and as panoramas, written as Cityscapes, DensePASS and WildPASS lie on disk.

All are drawn from streets of one kind (``city``), so that what parts the sets is the projection, not the style.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.data.layouts.street import WILDPASS
from orchestrator.data.standin import TEST_FROM, indices
from orchestrator.data.standin.fields import Rng, Shape
from orchestrator.data.standin.street import taken
from orchestrator.data.standin.town import city, place
from orchestrator.data.standin.town.cameras import Panorama, Pinhole
from orchestrator.data.standin.town.light import View, render
from orchestrator.data.standin.town.place import Place

VIEW: Shape = (128, 192)  #: height and width of a pinhole view, which is 70 to 90 degrees wide
ROUND: Shape = (128, 512)  #: of a panorama, which is 90 degrees high
OTHER = 25  #: what WildPASS's labels have where none of its classes is
_CITIES = ("aldorf", "birkau", "cranz", "dorla", "elmstadt", "falken", "grauen", "hohwald")
_KINDS = dict(
    zip(WILDPASS.classes, (place.CAR, place.TRUCK, place.BUS, place.ROAD, place.WALK, place.PERSON), strict=False)
)
_SOFT = (0.3, 0.65)  # pixels: what is small here shall be seen
_SEAM = 8  # pixels beyond each side, so that the lens blurs across the seam

Drawn = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def pinhole_camera(rng: Rng) -> Pinhole:
    """A car's: it looks along the street, about as narrow as Cityscapes' own (49 degrees)."""
    ahead = float(rng.choice([0, np.pi]) + rng.normal(0, 0.12))
    return Pinhole(VIEW, ahead, rng.normal(-0.02, 0.04), np.radians(rng.uniform(45, 60)))


def panorama_camera(rng: Rng) -> Panorama:
    """Its middle looks along the street as a rule."""
    if rng.random() < 0.3:
        return Panorama(ROUND, float(rng.uniform(-np.pi, np.pi)))
    return Panorama(ROUND, float(rng.choice([0, np.pi]) + rng.normal(0, 0.1)))


def photograph(rng: Rng, image: NDArray[np.float32], round_about: bool) -> NDArray[np.uint8]:
    """A rendered picture with the faults of a camera; a panorama's edges still join."""
    if not round_about:
        return taken(rng, image, _SOFT)
    wrapped = np.pad(image, ((0, 0), (_SEAM, _SEAM), (0, 0)), mode="wrap")
    return np.ascontiguousarray(taken(rng, wrapped, _SOFT)[:, _SEAM:-_SEAM])


def both(seed: int, index: int) -> tuple[Drawn, Drawn, Panorama, Pinhole]:
    """One street as a panorama and as a pinhole view: image and trainIds each; and the cameras."""
    scene, rng = city.build(seed, index), _rng("both", seed, index)
    around, ahead = panorama_camera(rng), pinhole_camera(rng)
    one, other = render(scene, around), render(scene, ahead)
    return (
        (photograph(rng, one.image, True), one.labels),
        (photograph(rng, other.image, False), other.labels),
        around,
        ahead,
    )


def _rng(kind: str, seed: int, index: int) -> Rng:
    return np.random.default_rng([zlib.crc32(kind.encode()), seed, index])


def _street(kind: str, seed: int, number: int) -> Place:
    """Each set has streets of its own."""
    return city.build(zlib.crc32(kind.encode()) + seed, number)


def draw_view(seed: int, index: int) -> Drawn:
    """A pinhole view and its trainIds; three views show two streets."""
    rng = _rng("cityscapes", seed, index)
    view = render(_street("cityscapes", seed, _street_of(index)), pinhole_camera(rng))
    return photograph(rng, view.image, False), view.labels


def _street_of(index: int) -> int:
    return index * 2 // 3


def draw_round(kind: str, seed: int, index: int) -> tuple[NDArray[np.uint8], View]:
    """A panorama of a set, ``densepass`` or ``wildpass``, and what it shows."""
    rng = _rng(kind, seed, index)
    view = render(_street(kind, seed, index), panorama_camera(rng))
    return photograph(rng, view.image, True), view


def wild_labels(view: View) -> NDArray[np.uint8]:
    """As WildPASS counts: its classes in Mapillary's numbers, kerbs and zebra crossings among them."""
    ids = dict(zip(WILDPASS.classes, WILDPASS.ids, strict=True))
    table = np.full(256, OTHER, np.uint8)
    for name, label in _KINDS.items():
        table[label] = ids[name]
    labels = table[view.labels]
    labels[view.kerb], labels[view.zebra] = ids["curb"], ids["crosswalk"]
    return labels


def write_cityscapes(root: Path, train: int, test: int, seed: int) -> None:
    """Write ``train`` + ``test`` pinhole views with their trainIds."""
    for index in indices(train, test):
        write_view(root, seed, index)


def write_view(root: Path, seed: int, index: int) -> None:
    """One of them."""
    split, town = "val" if index >= TEST_FROM else "train", _CITIES[_street_of(index) % len(_CITIES)]
    image, labels = draw_view(seed, index)
    name = f"{split}/{town}/{town}_{index:06d}_000019"
    _save(root / "leftImg8bit" / f"{name}_leftImg8bit.png", image)
    _save(root / "gtFine" / f"{name}_gtFine_labelTrainIds.png", labels)


def write_densepass(root: Path, train: int, test: int, seed: int) -> None:
    """Write ``train`` panoramas without labels and ``test`` with their trainIds."""
    for index in indices(train, test):
        image, view = draw_round("densepass", seed, index)
        if index < TEST_FROM:
            _save_unlabelled(root, index, image)
        else:
            _save(root / f"leftImg8bit/val/cs/{index}_.png", image)
            _save(root / f"gtFine/val/cs/{index}_labelTrainIds.png", view.labels)


def write_wildpass(root: Path, train: int, test: int, seed: int) -> None:
    """Write ``train`` panoramas without labels and ``test`` with WildPASS's."""
    for index in indices(train, test):
        image, view = draw_round("wildpass", seed, index)
        if index < TEST_FROM:
            _save_unlabelled(root, index, image)
        else:
            _save(root / f"leftImg8bit/val/cs/{index}.png", image)
            _save(root / f"gtFine/val/cs/{index}.png", wild_labels(view))


def _save_unlabelled(root: Path, index: int, image: NDArray[np.uint8]) -> None:
    town = _CITIES[index % len(_CITIES)]
    _save(root / f"leftImg8bit/train/{town}/{town}_{index:05d}.png", image)


def _save(path: Path, array: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, compress_level=1)
