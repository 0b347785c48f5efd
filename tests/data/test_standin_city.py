"""Streets in three dimensions: one scene in two projections, and the sets that are written of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from layout_samples import samples
from numpy.typing import NDArray

from orchestrator.data.catalogue import CATALOGUE
from orchestrator.data.codings import VOID
from orchestrator.data.ingest import ingest
from orchestrator.data.layouts.street import CITYSCAPES_CLASSES, WILDPASS
from orchestrator.data.reader import Dataset, open_dataset
from orchestrator.data.standin import official
from orchestrator.data.standin.fields import Field
from orchestrator.data.standin.town import city, panoramas
from orchestrator.data.standin.town import place as names
from orchestrator.data.standin.town.cameras import Panorama, Pinhole
from orchestrator.data.standin.town.light import View, render
from orchestrator.data.standin.town.place import Place
from orchestrator.data.standin.town.rays import cast
from orchestrator.data.standin.town.solids import BOX, DRUM, EGG, GROUND, Solid, Solids
from orchestrator.storage import Storage

SHAPE = (96, 384)
LAYOUTS = ("cityscapes", "densepass", "wildpass")


@pytest.fixture(scope="module")
def places() -> list[Place]:
    return [city.build(1, index) for index in range(4)]


def solid(kind: int, centre: tuple[float, float, float], half: tuple[float, float, float], **how: object) -> Solid:
    grey = (100.0, 100.0, 100.0)
    return Solid(kind, centre, half, 2, names.PLAIN, grey, grey, (0, 0, 0, 0), **how)  # type: ignore[arg-type]


def ranges(one: Solid, towards: tuple[float, float, float]) -> tuple[int, float]:
    """What a camera 2 m up sees in the pixel nearest to a direction, and how far away."""
    ground = solid(GROUND, (0, 0, 0), (400, 400, 1))
    camera, eye = Panorama((300, 1200)), np.array([0, 0, 2], np.float32)
    rays = camera.directions()
    index, depth = cast(Solids([ground, one]), eye, camera, rays, np.zeros((4, 4), np.float32))
    wanted = np.array(towards) / np.linalg.norm(towards)
    at = np.unravel_index(np.tensordot(wanted, rays, 1).argmax(), index.shape)
    return int(index[at]), float(depth[at])


@pytest.mark.parametrize(
    ("one", "distance"),
    [
        (solid(BOX, (10, 0, 2), (1, 1, 1)), 9),
        (solid(BOX, (10, 0, 2), (1, 1, 1), yaw=np.pi / 4), 10 - np.sqrt(2)),
        (solid(BOX, (10, 0, 2), (2, 2, 1), taper=(1, 1)), 8.5),
        (solid(DRUM, (10, 0, 2), (2, 1, 1)), 8),
        (solid(EGG, (10, 0, 2), (3, 1, 1)), 7),
        (solid(EGG, (10, 0, 2), (1, 3, 1), yaw=np.pi / 2), 7),
    ],
)
def test_distances_are_those_of_geometry(one: Solid, distance: float) -> None:
    assert ranges(one, (1, 0, 0)) == (1, pytest.approx(distance, abs=0.06))
    assert ranges(one, (-1, 0, 0.1))[0] == -1, "the sky"
    found, far = ranges(one, (-1, 0, -0.5))
    assert found == 0 and far == pytest.approx(2 * np.sqrt(5), rel=0.02)


def test_only_pixels_of_the_window_are_left_out_that_a_solid_misses(places: list[Place]) -> None:
    class Whole(Panorama):
        def windows(self, solids: Solids, eye: Field) -> NDArray[np.int64]:
            return np.tile(np.array([[0], [self.shape[0]], [0], [self.shape[1]]]), (1, len(solids)))

    class WholePinhole(Pinhole):
        windows = Whole.windows  # type: ignore[assignment]

    for place in places[:2]:
        for camera, whole in (
            (Panorama((32, 128), 0.7), Whole((32, 128), 0.7)),
            (Pinhole((32, 48), 2, 0.1), WholePinhole((32, 48), 2, 0.1)),
        ):
            found = [
                cast(place.solids, place.eye, c, camera.directions(), place.tile)[1]  # type: ignore[arg-type]
                for c in (camera, whole)
            ]
            assert np.mean(found[0] != found[1]) < 0.001


def test_a_panorama_joins_at_its_edges(places: list[Place]) -> None:
    rays = Panorama(SHAPE).directions()
    step = np.linalg.norm(rays[:, :, 0] - rays[:, :, -1], axis=0)
    assert np.allclose(step, np.linalg.norm(rays[:, :, 1] - rays[:, :, 0], axis=0), atol=1e-5)
    for place in places:
        here, turned = render(place, Panorama(SHAPE)), render(place, Panorama(SHAPE, 57 * 2 * np.pi / SHAPE[1]))
        assert np.mean(np.roll(here.labels, -57, 1) != turned.labels) < 0.002
        assert np.abs(np.roll(here.image, -57, 1) - turned.image).mean() < 1
        photo = panoramas.photograph(np.random.default_rng(0), here.image, True).astype(float)
        across = [np.abs(image[:, 0] - image[:, -1]).mean() for image in (photo, here.image)]
        assert across[0] < 1.2 * across[1] + 8, "the lens adds no edge"


def projected(around: Panorama, ahead: Pinhole) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """The panorama's pixel for each pixel of a pinhole view, and whether it has one."""
    x, y, z = ahead.directions()
    column = ((np.arctan2(y, x) - around.yaw) / around.pixel + around.shape[1] / 2) % around.shape[1]
    row = around.shape[0] / 2 - np.arcsin(z) / around.pixel
    there = (row >= 0) & (row < around.shape[0])
    return np.clip(row, 0, around.shape[0] - 1).astype(np.intp), column.astype(np.intp) % around.shape[1], there


def test_a_pinhole_view_and_a_panorama_show_one_street(places: list[Place]) -> None:
    for k, place in enumerate(places):
        around, ahead = Panorama((256, 1024), 0.3), Pinhole((128, 192), 1.7 * k, -0.05, 1.3)
        one, other = render(place, around), render(place, ahead)
        row, column, there = projected(around, ahead)
        assert there.mean() > 0.8
        assert np.mean((one.labels[row, column] != other.labels)[there]) < 0.04
        assert np.abs(one.image[row, column] - other.image)[there].mean() < 12, "the same colours"


def test_both_views_of_a_seed() -> None:
    (image, labels), (view, view_labels), around, ahead = panoramas.both(3, 4)
    assert image.shape == (*panoramas.ROUND, 3) and labels.shape == panoramas.ROUND
    assert view.shape == (*panoramas.VIEW, 3) and view_labels.shape == panoramas.VIEW
    row, column, there = projected(around, ahead)
    assert np.mean((labels[row, column] != view_labels)[there]) < 0.08, "a panorama's pixels are larger"
    again = panoramas.both(3, 4)
    assert np.array_equal(again[0][0], image) and np.array_equal(again[1][0], view)
    other = panoramas.both(3, 5)
    assert np.mean(other[0][1] != labels) > 0.1 and np.abs(other[0][0].astype(int) - image).mean() > 5


@pytest.fixture(scope="module")
def rounds() -> list[tuple[NDArray[np.uint8], View]]:
    return [panoramas.draw_round("densepass", 5, index) for index in range(20)]


@pytest.fixture(scope="module")
def views(rounds: list[tuple[NDArray[np.uint8], View]]) -> list[View]:
    return [view for _, view in rounds]


def test_every_class_occurs_and_none_is_all(views: list[View]) -> None:
    around = np.stack([np.bincount(v.labels.ravel(), minlength=19) / v.labels.size for v in views])
    ahead = np.stack([np.bincount(panoramas.draw_view(5, i)[1].ravel(), minlength=19) for i in range(30)])
    ahead = ahead / ahead.sum(1, keepdims=True)
    for shares in (around, ahead):
        there = {name for name, share in zip(CITYSCAPES_CLASSES, shares.mean(0), strict=True) if share > 2e-4}
        assert there == set(CITYSCAPES_CLASSES) - {"train"}
        assert shares.mean(0).max() < 0.6
    common = around.mean(0)
    assert common[names.ROAD] > 0.15 and common[names.BUILDING] > 0.1 and common[names.SKY] > 0.1


def test_kerbs_border_roads_and_zebras_lie_on_them(views: list[View]) -> None:
    assert all(v.kerb.any() for v in views) and np.mean([v.zebra.any() for v in views]) > 0.4
    for view in views:
        assert (view.labels[view.kerb] == names.WALK).all() and (view.labels[view.zebra] == names.ROAD).all()
        wild = panoramas.wild_labels(view)
        assert set(np.unique(wild)) <= {*WILDPASS.ids, panoramas.OTHER}
        assert ((wild == 13) == view.kerb).all() and ((wild == 24) == view.zebra).all()


def test_colour_alone_does_not_tell_classes(rounds: list[tuple[NDArray[np.uint8], View]]) -> None:
    """The best class for each of 512 colours is far from right where classes are counted alike."""
    colours = np.concatenate([(image // 32).reshape(-1, 3).astype(int) @ (64, 8, 1) for image, _ in rounds])
    labels = np.concatenate([view.labels.ravel() for _, view in rounds])
    table = np.zeros((512, 19))
    np.add.at(table, (colours, labels), 1)
    right = labels == table.argmax(1)[colours]
    recalls = [right[labels == k].mean() for k in np.unique(labels)]
    assert np.mean(recalls) < 0.35


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    root = tmp_path_factory.mktemp("streets")
    out = Storage(str(root / "out"))
    for layout in LAYOUTS:
        official.write(layout, "semantic", root / layout, 16, 3, 0)
        ingest(layout, root / layout, out, layout, CATALOGUE[layout].task, stand_in=True)
    return {layout: open_dataset(out, layout) for layout in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_they_are_ingested(layout: str, drawn: dict[str, Dataset]) -> None:
    manifest = drawn[layout].manifest
    assert (manifest.layout, manifest.stand_in, manifest.skipped) == (layout, True, ())
    assert (manifest.rows("train"), manifest.rows("test")) == (round(16 * official.OFFICIAL[layout].times), 3)
    assert official.domain(layout, "semantic") == "street"
    train, test = samples(drawn[layout], "train"), samples(drawn[layout], "test")
    assert len({sample.group for sample in train.values()}) > 2, "some can be held out"
    shape = panoramas.VIEW if layout == "cityscapes" else panoramas.ROUND
    for sample in (*train.values(), *test.values()):
        assert sample.image.shape == (*shape, 3) and sample.image.std() > 10
    assert all((sample.labels is None) == (layout != "cityscapes") for sample in train.values())
    for sample in test.values():
        assert sample.labels is not None and (sample.labels != VOID).mean() > 0.2
        assert sample.labels[sample.labels != VOID].max() < len(manifest.classes)


def test_each_set_has_streets_of_its_own(drawn: dict[str, Dataset], tmp_path: Path) -> None:
    pictures = [
        one.image
        for layout in LAYOUTS[1:]
        for split in ("train", "test")
        for one in samples(drawn[layout], split).values()
    ]
    for i, one in enumerate(pictures):
        assert all(np.abs(one.astype(int) - other).mean() > 5 for other in pictures[:i])
