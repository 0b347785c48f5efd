"""From rows to batches: decoding and resizing ahead of the engine, in a few threads or processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from methods.base import Batch
from orchestrator.data.ahead import map_ahead
from orchestrator.data.frames import Frame, class_map, crop_frame, fit_frame
from orchestrator.data.layers import Bits
from orchestrator.data.objects import Target, objects_of
from orchestrator.data.order import Part, sample_seed
from orchestrator.data.pixels import place, resize
from orchestrator.data.prefetch import fetched_ahead
from orchestrator.data.reader import DataSplit, Sample
from orchestrator.data.view import random_view
from orchestrator.embeddings.store import Embeddings, Stored
from orchestrator.errors import UserError

_OBJECTS = 3  #: the stream of random numbers that objects are drawn by
AHEAD = 2  #: whole batches that are prepared while one is used


_NO_IMAGE = np.zeros((3, 0, 0), np.uint8)


@dataclass(frozen=True)
class _Ready:
    """One sample at the model's input size S: image 3xSxS, mask PxSxS."""

    image: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    valid: tuple[int, int]
    size: tuple[int, int]
    index: int
    seed: int
    stored: Stored | None = None  #: in place of the image
    offline: Mapping[str, Tensor] = field(default_factory=dict)


class Loader:
    """Iterates over ``methods.base.Batch``, one for each entry of ``batches``.

    ``image_size`` is S in pixels; ``resize`` is 'stretch' or 'pad' (SAM's longest side to S, at the top
    left, zeros elsewhere). ``train`` turns on ``augment``: nothing, the horizontal flip (p = 0.5), or whole
    random views with ``masks`` masks each; they depend on seed, epoch and row alone. With ``apart`` the masks
    are those of ``masks`` of the image's objects, drawn from all of them, and not of all together; what has no
    object gets empty ones. A decoding error is raised at the turn of its batch; stopping early leaves no thread.

    Threads are quicker at decoding. Views hold Python's lock half of the time, so that beside a GPU
    ``processes`` (0: none) make them: each whole batches of its own, which arrive packed, in pinned memory.

    With ``embeddings`` no image is decoded: a batch has what is stored of it, and threads read that.

    With a ``frame`` (height, width) images keep their shape, and ``mask`` is a map of classes; ``augment`` is nothing,
    the flip, or ``crop`` (``frames.crop_frame``). ``offline``: what is stored of each row of the whole
    split, which nothing may move.
    """

    def __init__(
        self,
        split: DataSplit,
        image_size: int,
        resize: str,
        batches: Sequence[Part],
        seed: int,
        epoch: int,
        train: bool,
        threads: int = 2,
        augment: str = "flip",
        masks: int = 1,
        processes: int = 0,
        apart: Apart | None = None,
        embeddings: Embeddings | None = None,
        frame: Frame | None = None,
        offline: Callable[[int], dict[str, Tensor]] | None = None,
    ) -> None:
        if resize not in ("stretch", "pad"):
            raise ValueError(f"resize '{resize}': stretch or pad")
        self.split, self.image_size, self.resize = split, image_size, resize
        self.batches, self.seed, self.epoch = list(batches), seed, epoch
        self.train, self.threads = train, threads
        self.augment, self.masks = augment, masks
        self.processes, self.apart = 0 if embeddings or frame else processes, apart
        self.embeddings = embeddings
        self.frame, self.offline = frame, offline

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Generator[Batch, None, None]:
        return self._by_processes() if self.processes else self._by_threads()

    def batch(self, number: int) -> Batch:
        """Batch ``number``, made by the caller itself."""
        indices, weights = self.batches[number]
        return _collate([self._prepare(int(i)) for i in indices], weights)

    def _by_processes(self) -> Generator[Batch, None, None]:
        if not self.batches:
            return
        # forked, as usual on Linux: they touch no GPU, and a started one would import torch for seconds
        loader = DataLoader(
            _Numbered(self),
            batch_size=None,
            num_workers=min(self.processes, len(self)),
            prefetch_factor=1,
            multiprocessing_context="fork",
            pin_memory=torch.cuda.is_available(),
        )
        _use_opencv()
        batches = iter(loader)  # forks: before there is a thread whose locks the children would find taken
        try:
            with fetched_ahead(self.split, self._rows()):
                for made in batches:
                    if isinstance(made, UserError):
                        raise made
                    yield made
        finally:
            # not left to its finalizer: an error's traceback keeps it, and what Python then finds in a cycle
            # cannot tell the processes to end any more, waits for them for seconds and kills them
            batches._shutdown_workers()  # type: ignore[attr-defined]

    def _rows(self) -> list[int]:
        return [int(i) for indices, _ in self.batches for i in indices]

    def _by_threads(self) -> Generator[Batch, None, None]:
        rows = self._rows()
        largest = max((len(indices) for indices, _ in self.batches), default=1)
        ahead = map_ahead(self._prepare, rows, self.threads, window=max(self.threads, AHEAD * largest))
        with fetched_ahead(self.split, rows), closing(ahead) as samples:
            for indices, weights in self.batches:
                yield _collate([next(samples) for _ in indices], weights)

    def _prepare(self, row: int) -> _Ready:
        sample = self.split.truth(row) if self.embeddings else self.split.read(row)
        seed = sample_seed(self.seed, self.epoch, row)
        if self.frame:
            return self._framed(row, sample, self.frame, seed)
        height, width = sample.mask.shape
        if self.train and self.augment == "scene":
            bits = _bits(sample)
            image, mask, valid = random_view(sample.image, bits, self.masks, self.image_size, seed)
            return _Ready(image, mask, valid, (height, width), row, seed)
        flip = self.train and self.augment == "flip" and flips(seed)
        image, stored, valid = self._shown(row, sample, flip)
        mask = fit_mask(sample.mask, self.image_size, valid, flip)[None]
        if self.train and self.apart is not None:
            mask = self._objects(sample, self.apart, valid, flip, seed)
        elif self.train and self.masks > 1:
            mask = np.repeat(mask, self.masks, axis=0)
        return _Ready(image, mask, valid, (height, width), row, seed, stored)

    def _framed(self, row: int, sample: Sample, frame: Frame, seed: int) -> _Ready:
        """An image that keeps its shape, and its classes."""
        labels = class_map(sample)
        if self.train and self.augment == "crop":
            image, mask = crop_frame(sample.image, labels, frame, seed)
        else:
            flip = self.train and self.augment == "flip" and flips(seed)
            image, mask = fit_frame(sample.image, labels, frame, flip)
        stored = self.offline(self.split.source_row(row)) if self.offline else {}
        height, width = sample.image.shape[:2]
        return _Ready(image, mask, frame, (height, width), row, seed, offline=stored)

    def _shown(self, row: int, sample: Sample, flip: bool) -> tuple[NDArray[np.uint8], Stored | None, tuple[int, int]]:
        """The image, or what is stored in its place; and the part of the input that shows it."""
        if self.embeddings:
            stored = self.embeddings.read(self.split.name, self.split.source_row(row), flip)
            return _NO_IMAGE, stored, stored.valid
        height, width = sample.image.shape[:2]
        valid = valid_size(height, width, self.image_size, self.resize)
        return fit_image(sample.image, self.image_size, valid, flip), None, valid

    def _objects(
        self, sample: Sample, apart: Apart, valid: tuple[int, int], flip: bool, seed: int
    ) -> NDArray[np.uint8]:
        """The masks PxSxS of some objects of a sample that the input still shows, all different ones first."""
        rng = np.random.default_rng([seed, _OBJECTS])
        targets = apart.objects(sample)
        masks = np.zeros((self.masks, self.image_size, self.image_size), np.uint8)
        found = 0
        for number in rng.permutation(len(targets)):
            mask = targets[number].full(sample.mask.shape)
            masks[found] = fit_mask(mask.view(np.uint8), self.image_size, valid, flip)
            found += bool(masks[found].any())
            if found == self.masks:
                break
        for i in range(found, self.masks if found else 0):
            masks[i] = masks[i - found]
        return masks


@dataclass(frozen=True)
class Apart:
    """An image's objects are asked for one by one."""

    left_out: frozenset[int] = frozenset()  #: classes that are not asked for
    nested: Mapping[int, frozenset[int]] = field(default_factory=dict)  #: parts that lie on a whole

    def objects(self, sample: Sample) -> list[Target]:
        """Those of a sample that are asked for."""
        return objects_of(sample, left_out=self.left_out, nested=self.nested)


@dataclass(frozen=True)
class PackedBatch(Batch):
    """A batch on its way from a process to a GPU: ``mask`` holds eight masks a byte, and ``to`` unpacks them there."""

    masks: int = 1

    def to(self, device: torch.device | str) -> Batch:
        moved = self.map(lambda tensor: tensor.to(device, non_blocking=True))
        bits = torch.arange(8, dtype=torch.uint8, device=device)[:, None, None]
        planes = (moved.mask[:, :, None] >> bits).bitwise_and_(1).flatten(1, 2)
        return Batch(**{**_fields(moved), "mask": planes[:, : self.masks]})

    def pin_memory(self) -> PackedBatch:
        """A copy from which a GPU fetches without waiting."""
        return self.map(Tensor.pin_memory)


def _packed(batch: Batch) -> PackedBatch:
    mask = torch.from_numpy(np.packbits(batch.mask.numpy(), axis=1, bitorder="little"))
    return PackedBatch(**{**_fields(batch), "mask": mask}, masks=batch.mask.shape[1])


def _fields(batch: Batch) -> dict[str, Any]:
    return {f.name: getattr(batch, f.name) for f in dataclasses.fields(Batch)}


class _Numbered(Dataset[Batch | UserError]):
    """A loader's batches by number, as PyTorch's own loader asks for them.

    An error for the user is handed over as it is: raised here, it would arrive wrapped in a traceback.
    """

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __getitem__(self, number: int) -> Batch | UserError:
        try:
            return _packed(self._loader.batch(number))
        except UserError as error:
            return error


def _use_opencv() -> None:
    """Make OpenCV register the calling thread now, so that a process forked by it need not.

    It does so at a thread's first call, under a lock that a thread which used it takes again as it ends: a
    moment after Python has joined it. A process that is forked in that moment would wait for ever.
    """
    fit(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2), np.uint8), 4, (4, 4), flip=False)


def _bits(sample: Sample) -> Bits:
    """A sample's masks as layers; one mask is the lowest."""
    return sample.mask.astype(np.uint32) if sample.bits is None else sample.bits


def flips(seed: int) -> bool:
    """Whether the sample of this seed is mirrored: p = 0.5."""
    return bool(np.random.Generator(np.random.PCG64(seed)).random() < 0.5)


def valid_size(height: int, width: int, side: int, resize: str) -> tuple[int, int]:
    """Height and width that an image takes in the SxS input: SAM's ResizeLongestSide for 'pad'."""
    if resize == "stretch":
        return side, side
    scale = side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def fit(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], side: int, valid: tuple[int, int], flip: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """HxWx3 and HxW, resized to ``valid`` and placed at the top left: 3xSxS (bilinear) and 1xSxS (nearest)."""
    return fit_image(image, side, valid, flip), fit_mask(mask, side, valid, flip)[None]


def fit_image(image: NDArray[np.uint8], side: int, valid: tuple[int, int], flip: bool) -> NDArray[np.uint8]:
    """HxWx3, resized to ``valid`` (bilinear) and placed at the top left of 3xSxS."""
    picture = resize(image, *valid)
    if flip:
        picture = picture[:, ::-1]
    placed = np.zeros((3, side, side), dtype=np.uint8)
    place(np.ascontiguousarray(picture), placed)
    return placed


def fit_mask(mask: NDArray[np.uint8], side: int, valid: tuple[int, int], flip: bool) -> NDArray[np.uint8]:
    """HxW, resized to ``valid`` (nearest) and placed at the top left of SxS."""
    height, width = valid
    ground = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    below = np.zeros((side, side), dtype=np.uint8)
    below[:height, :width] = ground[:, ::-1] if flip else ground
    return below


def _collate(samples: list[_Ready], weights: NDArray[np.float32]) -> Batch:
    stored = [s.stored for s in samples if s.stored]
    return Batch(
        image=torch.from_numpy(np.stack([s.image for s in samples])),
        mask=torch.from_numpy(np.stack([s.mask for s in samples])),
        valid=torch.tensor([s.valid for s in samples], dtype=torch.int64),
        size=torch.tensor([s.size for s in samples], dtype=torch.int64),
        index=torch.tensor([s.index for s in samples], dtype=torch.int64),
        seed=torch.tensor([s.seed for s in samples], dtype=torch.int64),
        weight=torch.from_numpy(np.array(weights, dtype=np.float32)),
        embedding=torch.stack([s.embedding for s in stored]) if stored else None,
        blocks=tuple(map(torch.stack, zip(*(s.blocks for s in stored), strict=True))),
        offline={name: torch.stack([s.offline[name] for s in samples]) for name in samples[0].offline},
    )
