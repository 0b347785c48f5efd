"""The training and evaluation loop in plain torch: no ray, one rank of any number, CPU or GPU."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from methods.base import Batch, Method
from methods.parts.labeller import Labeller
from methods.parts.sampler import PromptRule, draw_prompts
from orchestrator.build import pick_precision
from orchestrator.config import Settings
from orchestrator.data.cache import Lookups
from orchestrator.data.loader import Apart, Loader
from orchestrator.data.moved import moved_ahead
from orchestrator.data.order import epoch_part, eval_batches, rank_batches
from orchestrator.data.reader import DataSplit
from orchestrator.embeddings.store import Embeddings
from orchestrator.fit import Fit, make_fit
from orchestrator.masks import to_original
from orchestrator.memory import peak_memory_mb
from orchestrator.metrics import image_metrics, mean_metrics
from orchestrator.offline.stage import Shelf
from orchestrator.optimizer import make_optimizers, state_bytes
from orchestrator.ranks import Ranks
from orchestrator.step import NotFinite, Pass

OnStep = Callable[[int, int, int], None]  #: epoch, steps done in it, its steps


@dataclass(frozen=True)
class Position:
    """How far an epoch is, the same on every rank and for any number of ranks."""

    epoch: int
    step: int = 0  #: steps done
    sums: dict[str, float] = field(default_factory=dict)  #: of each loss, over the samples seen
    rows: tuple[int, ...] = ()  #: of the split, seen by all ranks, in their global order
    seconds: float = 0.0
    waited: float = 0.0  #: of them, for data


class Engine:
    """Trains a method on one rank and measures it.

    All ranks hold the same settings and see disjoint parts of the same global batches, so the result does
    not depend on their number beyond rounding (which, with Muon, is bf16's).
    """

    def __init__(
        self,
        settings: Settings,
        method: Method,
        train: DataSplit,
        device: torch.device,
        ranks: Ranks,
        apart: Apart | None = None,
    ) -> None:
        self.settings, self.train_split, self.device, self.ranks = settings, train, device, ranks
        self.method = method.to(device)
        self.apart = apart  #: where objects are prompted for one by one
        self.side = int(method.sam.image_encoder.img_size)
        self.frame = method.frame(*train.first_size()) if isinstance(method, Labeller) else None
        self.offline: Shelf | None = None  #: what is computed of every image before training
        self.dtype = pick_precision(settings.train.precision, device)
        self._trained = trained = [p for p in method.parameters() if p.requires_grad]
        self.optimizer = make_optimizers(self.method, settings.train)
        self.model: torch.nn.Module = self.method
        self.embeddings: Embeddings | None = None  #: what the frozen encoder says of every row, where it is stored
        self.lookups = Lookups()  #: in the node's cache
        self._encoded, self._waited = 0, 0.0
        self.fit: Fit | None = None  #: how a batch is made to fit into memory, from the first step on
        method.sam.image_encoder.patch_embed.register_forward_hook(self._count)
        self.on_step: OnStep = lambda epoch, step, steps: None
        self.on_position: Callable[[Position], None] = lambda position: None  #: every ``train.keep_every`` steps
        self.on_notice: Callable[[], bool] = lambda: False  #: asked after each step: is the position wanted at once?
        if ranks.world > 1 and trained:
            self.model = DistributedDataParallel(self.method, broadcast_buffers=False, gradient_as_bucket_view=True)
        self._pass = Pass(self.method, self.model, device, self.dtype)
        self.autocast = self._pass.autocast

    def epochs(self, start: int = 1, position: Position | None = None) -> Iterator[dict[str, Any]]:
        """Train epoch by epoch (1-based); yields what each one was like, the same on every rank.

        The first one may be begun at a ``position`` within it.
        """
        for epoch in range(start, self.settings.train.epochs + 1):
            yield self.train_epoch(epoch, position if position and position.epoch == epoch else None)

    def train_epoch(self, epoch: int, start: Position | None = None) -> dict[str, Any]:
        """One pass over the training split, or the rest of one from ``start``.

        A method that trains nothing has nothing to pass over.
        """
        t = self.settings.train
        at = start or Position(epoch)
        began, self._waited = time.perf_counter() - at.seconds, at.waited
        order = epoch_part(len(self.train_split), t.seed, epoch, t.samples)
        steps = -(-len(order) // t.batch)
        sums: dict[str, float] = {}
        seen: list[np.ndarray] = []  # of this rank, since ``at``
        self.model.train()
        torch.set_flush_denormal(True)  # of this thread: numbers under 1e-38 cost a hundred times their worth
        rate = t.lr
        if self.optimizer is None:
            order = order[:0]
        for batch in self._batches(self.train_split, order, epoch, at.step):
            step = at.step + len(seen)
            rate = self._set_rate(epoch, step, steps)
            losses = self._step(batch, epoch, step)
            real = batch.weight > 0
            seen.append(batch.index[real].cpu().numpy())
            self.on_step(epoch, step + 1, steps)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) * self._batch_size(order, step)
            due = t.keep_every > 0 and (step + 1) % t.keep_every == 0
            if step + 1 < steps and (due or self.on_notice()):
                at = self._advanced(at, order, seen, sums, time.perf_counter() - began)
                seen, sums = [], {}
                self.on_position(at)
        at = self._advanced(at, order, seen, sums, time.perf_counter() - began)
        if len(at.rows) != len(order):
            raise RuntimeError(f"the ranks consumed {len(at.rows)} of the epoch's {len(order)} samples")
        ids = self.train_split.ids()
        memory, waited = zip(*self.ranks.gather((peak_memory_mb(self.device), at.waited)), strict=True)
        return {
            "epoch": epoch,
            "lr": rate,
            "losses": {name: value / max(1, len(order)) for name, value in at.sums.items()},
            "samples": len(order),
            "order": hashlib.sha256("\n".join(ids[i] for i in at.rows).encode()).hexdigest()[:16],
            "seconds": at.seconds,
            "wait_seconds": max(waited),  # the others wait for the slowest rank
            "peak_memory_mb": max(memory),
        }

    @torch.inference_mode()
    def evaluate(self, split: DataSplit, names: tuple[str, ...]) -> dict[str, float]:
        """The mean over images of per-image metrics at original resolution, the same for any number of ranks."""
        self.method.eval()
        per_image: dict[int, dict[str, float]] = {}
        batches = eval_batches(len(split), self.settings.train.batch, self.ranks.rank, self.ranks.world)
        with closing(iter(self.loader(split, batches, 0, train=False))) as loader:
            for batch in loader:
                for index, probability in self.probabilities(batch):
                    per_image[index] = image_metrics(probability, split.mask(index), names)
        merged = {i: values for part in self.ranks.gather(per_image) for i, values in part.items()}
        if len(merged) != len(split):
            raise RuntimeError(f"evaluated {len(merged)} of {len(split)} images")
        return mean_metrics(merged)

    def probabilities(self, batch: Batch) -> Iterator[tuple[int, np.ndarray]]:
        """(row, foreground probability HxW at original resolution) of each real image of a batch."""
        logits = self._pass.predict(batch.to(self.device))
        if not torch.isfinite(logits).all():
            raise NotFinite(f"the predicted masks are not finite; try a lower {self._rates()}")
        for i in range(len(batch)):
            if batch.weight[i] > 0:
                yield int(batch.index[i]), to_original(logits[i, 0], batch.valid[i], batch.size[i])

    def state(self) -> dict[str, Any]:
        """What a continued run needs beside the trained weights."""
        return {"optimizer": self.optimizer.state_dict() if self.optimizer else {}}

    def load_state(self, state: dict[str, Any]) -> None:
        if self.optimizer:
            self.optimizer.load_state_dict(state["optimizer"])

    def _step(self, batch: Batch, epoch: int, step: int) -> dict[str, Tensor]:
        if self.apart is not None:
            p = self.settings.prompts
            batch = replace(batch, prompts=draw_prompts(batch.mask, batch.seed, PromptRule(p.kind, p.points, p.jitter)))
        assert self.optimizer is not None
        try:
            if self.fit is None:
                self._make_fit(batch)
            self.optimizer.zero_grad()
            losses = self._pass(batch)
        except NotFinite as error:
            raise NotFinite(
                f"the loss is not finite in epoch {epoch}, step {step + 1} ({error}); try a lower {self._rates()}"
            ) from None
        if self.settings.train.clip:
            torch.nn.utils.clip_grad_norm_(self._trained, self.settings.train.clip)
        self.optimizer.step()
        return losses

    def _make_fit(self, batch: Batch) -> None:
        t, counted = self.settings.train, self._encoded
        images = -(-min(t.batch, t.samples or len(self.train_split), len(self.train_split)) // self.ranks.world)
        self.fit = make_fit(self._pass, batch, t, self.ranks, images, state_bytes(self.method, t))
        self._encoded = counted  # images that were only tried

    def fitted(self) -> dict[str, int]:
        """How a batch was made to fit, for the record."""
        return asdict(replace(self.fit, part=self._pass.part)) if self.fit else {}

    def _rates(self) -> str:
        """The settings that an error about a wild step should name."""
        return "train.lr or train.matrix_lr" if self.settings.train.optimizer == "muon" else "train.lr"

    def _set_rate(self, epoch: int, step: int, steps: int) -> float:
        """Cosine from lr to lr_min: by epoch without warm-up (SAM-Adapter), or by step after a linear warm-up."""
        t = self.settings.train
        low = min(t.lr_min, t.lr)
        done = (epoch - 1) / t.epochs
        rise = 1.0
        if t.schedule == "steps":
            now, whole = (epoch - 1) * steps + step, t.epochs * steps
            rise = min(1.0, (now + 1) / t.warmup) if t.warmup else 1.0
            done = max(0, now - t.warmup) / max(1, whole - t.warmup)
        rate = rise * (low + (t.lr - low) * (1 + math.cos(math.pi * done)) / 2)
        if self.optimizer:
            self.optimizer.set_rate(rate / t.lr)
        return rate

    def counted_since(self) -> dict[str, int]:
        """What all ranks did since this was asked last.

        ``encoded``: images that the encoder was run on; ``embedded``: that had a stored embedding instead. ``found``
        and ``fetched``: how often the node's cache had a shard, and how often a store had to be asked.
        """
        found, fetched = self.lookups.take()
        read = self.embeddings.read_since() if self.embeddings else 0
        mine = {"encoded": self._encoded, "embedded": read, "found": found, "fetched": fetched}
        self._encoded = 0
        counts = self.ranks.gather(mine)
        return {name: sum(one[name] for one in counts) for name in mine}

    def _count(self, module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._encoded += len(output)

    def _batches(self, split: DataSplit, order: np.ndarray, epoch: int, done: int) -> Iterator[Batch]:
        """This rank's part of the epoch's global batches, but for the first ``done``."""
        batches = rank_batches(order, self.settings.train.batch, self.ranks.rank, self.ranks.world)[done:]
        asked = time.perf_counter()
        with (
            closing(iter(self.loader(split, batches, epoch, train=True))) as loader,
            closing(moved_ahead(loader, len(batches), self.device)) as ahead,
        ):
            for batch in ahead:
                self._waited += time.perf_counter() - asked
                yield batch
                asked = time.perf_counter()

    def loader(self, split: DataSplit, batches: Any, epoch: int, train: bool) -> Loader:
        return Loader(
            split,
            image_size=self.side,
            resize=self.method.resize,
            batches=batches,
            seed=self.settings.train.seed,
            epoch=epoch,
            train=train,
            threads=self.settings.data.threads,
            processes=self.settings.data.processes,
            augment=self.method.augment,
            masks=self.settings.prompts.per_image if self.apart is not None else self.method.masks,
            apart=self.apart,
            embeddings=self.embeddings,
            frame=self.frame,
            offline=self.offline.reader(split.name, train) if self.offline else None,
        )

    def _batch_size(self, order: np.ndarray, step: int) -> int:
        return min(self.settings.train.batch, len(order) - step * self.settings.train.batch)

    def _advanced(
        self, at: Position, order: np.ndarray, seen: list[np.ndarray], sums: dict[str, float], seconds: float
    ) -> Position:
        """The position after the steps since ``at``; an error if a sample of theirs was lost or doubled."""
        gathered = self.ranks.gather((seen, sums))
        steps = [np.concatenate(step) for step in zip(*(part for part, _ in gathered), strict=True)]
        rows = at.rows + tuple(int(i) for step in steps for i in step)
        if not np.array_equal(rows, order[: len(rows)]):
            raise RuntimeError("the ranks did not consume the epoch's samples in their global order")
        means = {name: math.fsum(s[name] for _, s in gathered) / len(gathered) for name in sums}
        return Position(
            at.epoch,
            at.step + len(seen),
            at.sums | {name: at.sums.get(name, 0.0) + value for name, value in means.items()},
            rows,
            seconds,
            self._waited,
        )
