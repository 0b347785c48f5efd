"""Masks and overlays from a trained checkpoint, for any folder of images and for a sweep's own test split."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from methods.backbone.build import fingerprint
from methods.base import Batch
from methods.parts.labeller import VOID, Labeller
from orchestrator import checkpoint
from orchestrator.build import autocast, build_method, pick_device, pick_precision
from orchestrator.class_eval import at_original
from orchestrator.class_names import matched
from orchestrator.class_pictures import class_map_png, compare_classes, overlay_classes
from orchestrator.config import from_flat
from orchestrator.data.check import BadImage, decode_image
from orchestrator.data.frames import class_map, fit_frame
from orchestrator.data.loader import Apart, Loader, fit, valid_size
from orchestrator.data.order import eval_batches
from orchestrator.data.reader import DataSplit
from orchestrator.data.tasks import TASKS
from orchestrator.errors import UserError, unknown
from orchestrator.leaderboard import rank
from orchestrator.masks import comparison, overlay, stack, to_original
from orchestrator.metrics import image_metrics
from orchestrator.object_scores import Questions
from orchestrator.results import TRIALS, read_rows
from orchestrator.storage import Storage

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})

Progress = Callable[[int, int, str], None]


@dataclass
class Predictor:
    """A trained method, ready to segment."""

    method: Any
    side: int
    device: torch.device
    dtype: torch.dtype
    settings: Any
    by_prompts: bool = False  #: whether it was trained for single objects

    @classmethod
    def load(cls, storage: Storage, run: str, weights: str | None = None) -> Predictor:
        """From ``RUN`` (its best completed trial) or ``RUN/TRIAL``; ``weights``: the backbone's, if they moved."""
        folder = trial_folder(storage, run)
        record, tensors = checkpoint.read(folder)
        settings = from_flat(record.settings)
        if weights:
            settings = settings.replace({"backbone.checkpoint": weights})
        method = build_method(settings, record.classes)
        if fingerprint(method.sam) != record.backbone_fingerprint:
            raise UserError(
                f"{folder.path(checkpoint.FILE)}: trained on other weights of {settings.backbone.name} than those "
                "here; give those with --checkpoint PATH"
            )
        checkpoint.apply(method, tensors, folder.path(checkpoint.FILE))
        device = pick_device()
        dtype = pick_precision(settings.train.precision, device)
        side = int(method.sam.image_encoder.img_size)
        return cls(method.eval().to(device), side, device, dtype, settings, "object_miou" in record.metrics)

    def autocast(self) -> torch.autocast:
        """As it was trained and measured."""
        return autocast(self.device, self.dtype)

    @torch.inference_mode()
    def probability(self, batch: Batch) -> list[np.ndarray]:
        """HxW foreground probability of each image, at its original size."""
        with self.autocast():
            logits = self.method.predict(batch.to(self.device))
        return [to_original(logits[i, 0], batch.valid[i], batch.size[i]) for i in range(len(batch))]

    @torch.inference_mode()
    def classes(self, image: np.ndarray) -> np.ndarray:
        """The class of each pixel of an image HxWx3, at its own size: HxW."""
        batch = self.batch_of(image).to(self.device)
        with self.autocast():
            logits = self.method.predict(batch)
        return at_original(logits[0], batch.size[0])

    def batch_of(self, image: np.ndarray) -> Batch:
        """A batch of one image HxWx3 uint8 without a mask."""
        height, width = image.shape[:2]
        if isinstance(self.method, Labeller):
            frame = self.method.frame(height, width)
            placed, below = fit_frame(image, np.full((height, width), VOID, np.uint8), frame, flip=False)
            return _batch_of_one(placed, below, frame, (height, width))
        valid = valid_size(height, width, self.side, self.method.resize)
        placed, below = fit(image, np.zeros((height, width), np.uint8), self.side, valid, flip=False)
        return _batch_of_one(placed, below, valid, (height, width))


def _batch_of_one(image: np.ndarray, mask: np.ndarray, valid: tuple[int, int], size: tuple[int, int]) -> Batch:
    return Batch(
        image=torch.from_numpy(image)[None],
        mask=torch.from_numpy(mask)[None],
        valid=torch.tensor([valid]),
        size=torch.tensor([size]),
        index=torch.zeros(1, dtype=torch.int64),
        seed=torch.zeros(1, dtype=torch.int64),
        weight=torch.ones(1),
    )


def trial_folder(storage: Storage, run: str) -> Storage:
    """The folder of ``RUN/TRIAL``, or of the best completed trial of ``RUN``."""
    name, _, trial = run.strip("/").partition("/")
    runs = storage.names()
    if name not in runs:
        raise unknown("run", name, runs) if runs else UserError(f"{storage.uri}: no run is there yet")
    if not trial:
        done = [r for r in read_rows(storage, name) if r["status"] == "completed" and math.isfinite(r["best"])]
        if not done:
            raise UserError(f"run '{name}' has no completed trial yet; wait for it, or name one as RUN/TRIAL")
        trial = min(done, key=lambda r: rank(TASKS[r["task"]].mode, r["best"], r["trial"]))["trial"]
    trial = trial.removeprefix(f"{TRIALS}/")
    if trial not in (trials := storage.names(f"{name}/{TRIALS}")):
        raise unknown(f"trial of run '{name}'", trial, trials)
    return storage / name / TRIALS / trial


def predict_folder(predictor: Predictor, images: Path, out: Storage, progress: Progress) -> int:
    """Write ``out/masks/STEM.png`` (0/255, or class numbers) and ``out/overlays/STEM.jpg`` for every image of a folder.

    Raises:
        UserError: no image there, one that cannot be read, or two of one name; the message names it.
    """
    if predictor.by_prompts or predictor.method.needs_prompts:
        raise UserError(
            f"method '{predictor.settings.method}' was trained to answer prompts, and a folder of images has none; ask "
            "it through its `answer`, or look at the overlays of its run"
        )
    paths = find_images(images)
    for path in paths:  # before anything is written
        _read_image(path)
    out.check_writable()
    for done, path in enumerate(paths, 1):
        image = _read_image(path)
        if isinstance(predictor.method, Labeller):
            found, names = predictor.classes(image), predictor.method.classes
            out.write(f"masks/{path.stem}.png", class_map_png(found, names))
            out.write(
                f"overlays/{path.stem}.jpg", _encoded(Image.fromarray(overlay_classes(image, found, names)), "JPEG")
            )
            progress(done, len(paths), path.name)
            continue
        mask = (predictor.probability(predictor.batch_of(image))[0] > 0.5).astype(np.uint8)
        out.write(f"masks/{path.stem}.png", _encoded(Image.fromarray(mask * 255), "PNG"))
        out.write(f"overlays/{path.stem}.jpg", _encoded(Image.fromarray(overlay(image, mask)), "JPEG"))
        progress(done, len(paths), path.name)
    return len(paths)


def _read_image(path: Path) -> np.ndarray:
    try:
        return decode_image(path.read_bytes())
    except (BadImage, OSError) as error:
        raise UserError(f"{path}: {error}; mend or remove it") from error


def find_images(folder: Path) -> list[Path]:
    """The images directly in a folder, sorted."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give --images a folder of images")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not paths:
        raise UserError(f"{folder}: no image in it ({', '.join(sorted(SUFFIXES))})")
    stems: dict[str, Path] = {}
    for path in paths:
        if path.stem in stems:
            raise UserError(f"{path}: has the same name as {stems[path.stem].name}; rename one of them")
        stems[path.stem] = path
    return paths


def write_gallery(predictor: Predictor, split: DataSplit, out: Storage, count: int) -> list[str]:
    """Image, truth, prediction and errors of evenly spaced rows of a split, and all of them on one sheet."""
    rows = np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).astype(int))
    written, pictures = [], []
    for row, probability in zip(rows, _of_rows(predictor, split, rows), strict=True):
        sample = split.read(int(row))
        predicted = (probability > 0.5).astype(np.uint8)
        dice = image_metrics(probability, sample.mask, ("mdice",))["mdice"]
        picture = comparison(sample.image, sample.mask, predicted, f"{sample.id}  Dice {dice:.2f}")
        name = f"{sample.id}.png"
        out.write(name, _encoded(picture, "PNG"))
        written.append(name)
        pictures.append(picture)
    out.write("sheet.png", _encoded(stack(pictures), "PNG"))
    return [*written, "sheet.png"]


def write_class_gallery(
    predictor: Predictor, split: DataSplit, classes: Sequence[str], out: Storage, count: int
) -> list[str]:
    """The same where pixels have classes; ``classes``: the data set's."""
    rows = np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).astype(int))
    classes = classes or predictor.method.classes
    numbers = matched(predictor.method.classes, classes)
    written, pictures = [], []
    for row in rows:
        sample = split.read(int(row))
        found = numbers[predictor.classes(sample.image)]
        truth = class_map(sample) if sample.labels is not None else None
        picture = compare_classes(sample.image, truth, found, classes, sample.id)
        name = f"{sample.id.replace('/', '-')}.png"
        out.write(name, _encoded(picture, "PNG"))
        written.append(name)
        pictures.append(picture)
    out.write("sheet.png", _encoded(stack(pictures), "PNG"))
    return [*written, "sheet.png"]


def write_object_gallery(predictor: Predictor, split: DataSplit, around: Apart, out: Storage, count: int) -> list[str]:
    """The same where objects are prompted for: one object of each image, the prompt in the picture."""
    rows = np.unique(np.linspace(0, len(split) - 1, min(count, len(split))).astype(int))
    prompts = predictor.settings.prompts
    written, pictures = [], []
    for row in rows:
        sample = split.read(int(row))
        targets = around.objects(sample)
        if not targets:
            continue
        target = targets[zlib.crc32(sample.id.encode()) % len(targets)]
        batch = predictor.batch_of(sample.image).to(predictor.device)
        asked = Questions(batch, [target], sample.mask.shape, sample.id, prompts, repeats=1)
        with torch.inference_mode(), predictor.autocast():
            (predicted,) = asked.masks(predictor.method, predictor.method.embedding(batch))
        truth = target.full(sample.mask.shape)
        picture = asked.shown_on(sample.image)
        iou = image_metrics(predicted.astype(np.float32), truth.astype(np.uint8), ("miou",))["miou"]
        sheet = comparison(picture, truth.astype(np.uint8), predicted.astype(np.uint8), f"{sample.id}  IoU {iou:.2f}")
        out.write(f"{sample.id}.png", _encoded(sheet, "PNG"))
        written.append(f"{sample.id}.png")
        pictures.append(sheet)
    if pictures:
        out.write("sheet.png", _encoded(stack(pictures), "PNG"))
    return [*written, "sheet.png"] if pictures else []


def _of_rows(predictor: Predictor, split: DataSplit, rows: np.ndarray) -> Iterator[np.ndarray]:
    part = split.subset(rows)
    batches = eval_batches(len(part), 4, 0, 1)
    resize = predictor.method.resize
    loader = Loader(part, predictor.side, resize, batches, seed=0, epoch=0, train=False)
    with closing(iter(loader)) as stream:
        for batch in stream:
            yield from predictor.probability(batch)


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": 92} if kind == "JPEG" else {}))
    return buffer.getvalue()
