"""Licence plates in boxes of Pascal VOC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_samples import picture
from layout_samples import HIGH, WIDE, put, samples, taken, wrong

PLATE = """<annotation><folder>images</folder><filename>Cars{n}.png</filename>
<size><width>32</width><height>24</height><depth>4</depth></size><segmented>0</segmented>
{objects}</annotation>"""


BOX = """<object><name>licence</name><pose>Unspecified</pose><bndbox>
<xmin>{0}</xmin><ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def test_plates(source: Path) -> None:
    boxes = [(2, 3, 10, 6), (20, 15, 30, 20)]
    for n in range(5):
        image = np.dstack([picture(n), np.full((HIGH, WIDE), 255, np.uint8)])  # some are RGBA
        put(source / f"images/Cars{n}.png", image)
        (source / "annotations").mkdir(exist_ok=True)
        xml = PLATE.format(n=n, objects="".join(BOX.format(*box) for box in boxes[: 1 + (n == 3)]))
        (source / f"annotations/Cars{n}.xml").write_text(xml)
    dataset = taken(source, "plates")
    assert (dataset.manifest.rows("train"), dataset.manifest.rows("test")) == (4, 1)
    both = samples(dataset, "train") | samples(dataset, "test")
    car = both["Cars3"]
    assert [o.box for o in car.objects] == [tuple(map(float, box)) for box in boxes]
    assert car.labels is not None and (car.labels[3:7, 2:11] == 1).all() and (car.labels == 2).sum() == 6 * 11
    assert (car.mask == (car.labels > 0)).all()


def put_plate(source: Path, box: tuple[object, ...] = (2, 3, 10, 6)) -> None:
    for n in range(3):
        put(source / f"images/Cars{n}.png", picture(n))
        (source / "annotations").mkdir(exist_ok=True)
        (source / f"annotations/Cars{n}.xml").write_text(PLATE.format(n=n, objects=BOX.format(*box)))


@pytest.mark.parametrize("box", [(2, -9, 10, -3), (2, 3, "nan", 6), (2, 3, "1e999", 6), (10, 3, 2, 6), (2, 3, 99, 6)])
def test_boxes_that_cannot_be(source: Path, box: tuple[object, ...]) -> None:
    put_plate(source, box)
    assert "annotations/Cars0.xml: not an annotation of Pascal VOC (a box from" in wrong(source, "plates")


def test_plates_of_another_size_encoding_or_without_their_image(source: Path) -> None:
    put_plate(source)
    path = source / "annotations/Cars0.xml"
    good = path.read_text()
    path.write_text(good.replace("<width>32<", "<width>99999<"))
    assert "tells of 99999x24 pixels, but its image has 32x24" in wrong(source, "plates")
    path.write_text(f'<?xml version="1.0" encoding="foo"?>{good}')
    assert "annotations/Cars0.xml: not an annotation" in wrong(source, "plates")
    path.write_text(good)
    (source / "images/Cars1.png").unlink()
    assert "annotations/Cars1.xml: a mask without its image" in wrong(source, "plates")


def test_two_files_of_one_id(source: Path) -> None:
    put_plate(source)
    put(source / "images/Cars0.jpg", picture())
    assert "images/Cars0.png: two files of one name (the other: images/Cars0.jpg)" in wrong(source, "plates")
