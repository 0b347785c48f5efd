"""Small panoramas and a small assistant, for tests of what comes before a trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from data_samples import encode

from orchestrator.data.schema import Manifest, Row
from orchestrator.data.writer import DatasetWriter
from orchestrator.storage import Storage

CLASSES = ("road", "sky", "car")
HEIGHT, WIDTH = 32, 96


def panorama(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sky above a road, with a car on it: HxWx3 and its classes HxW."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 30, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[:14], at = 1, int(rng.integers(0, WIDTH))
    car = (np.arange(at, at + 20) % WIDTH)[None, :]
    labels[np.arange(14, 24)[:, None], car] = 2
    return image + np.array([(70, 70, 70), (90, 140, 220), (200, 30, 30)], np.uint8)[labels], labels


def write_panoramas(data: Storage, name: str = "densepass", train: int = 20, test: int = 4) -> Manifest:
    """A data set of unlabelled panoramas to train on, and labelled ones to test."""
    with DatasetWriter(data, name) as writer:
        for split, first, count in (("train", 0, train), ("test", 1000, test)):
            for i in range(count):
                image, labels = panorama(first + i)
                mask, coding = (encode(labels), "classes") if split == "test" else (b"", "none")
                writer.add(split, Row(f"{split}{i}", "", encode(image), mask, HEIGHT, WIDTH, 0, f"{i}", coding=coding))
        return writer.commit(task="panorama", layout="densepass", split_rule="as told", classes=CLASSES)


def write_views(data: Storage, name: str = "cityscapes", train: int = 12, test: int = 4) -> Manifest:
    """Labelled pictures of the same things."""
    with DatasetWriter(data, name) as writer:
        for split, first, count in (("train", 2000, train), ("test", 3000, test)):
            for i in range(count):
                image, labels = panorama(first + i)
                row = Row(f"{split}{i}", "", encode(image[:, :48]), encode(labels[:, :48]), HEIGHT, 48, 0, f"{i}")
                writer.add(split, row.__class__(**{**vars(row), "coding": "classes"}))
        return writer.commit(task="semantic", layout="cityscapes", split_rule="as told", classes=CLASSES)


def save_assistant(folder: Path, classes: Sequence[str] = CLASSES) -> Path:
    """A SegFormer of our small size with random weights, as transformers saves one."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(4)
    about = {"hidden_sizes": [16, 32, 80, 128], "depths": [1, 1, 1, 1], "decoder_hidden_size": 128}
    SegformerForSemanticSegmentation(
        SegformerConfig(**about, id2label=dict(enumerate(classes)))  # type: ignore[arg-type]
    ).save_pretrained(folder)
    return folder
