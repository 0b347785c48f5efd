"""Validated settings: one frozen tree, checked once at the edge; unknown keys are errors with a suggestion."""

from __future__ import annotations

import dataclasses
import functools
import math
import shlex
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from methods import registry
from methods.backbone.execution import ATTENTION, DECODER, Execution
from methods.base import option
from methods.parts.sampler import KINDS
from orchestrator.errors import UserError, unknown

#: Settings that change no result beyond rounding, only how it is come by.
WAYS = (
    "backbone.attention",
    "backbone.decoder",
    "backbone.compile",
    "train.micro_batch",
    "train.recompute",
    "train.memory_gb",
)
BACKBONES = ("vit_t", "vit_b", "vit_l", "vit_h")


@dataclass(frozen=True)
class BackboneSettings:
    name: str = option("vit_t", "size of SAM", BACKBONES)
    checkpoint: str | None = option(
        None, "path of its weights; unset: vit_t's own, or what `samsweep weights fetch` brought", path=True
    )
    start: str = option("trained", "from trained weights, or from random ones", ("trained", "random"))
    attention: str = option(
        "auto",
        "how the encoder's attention is computed, which changes no result beyond rounding: auto is tiled on a CPU, "
        "torch's fused kernels on a GPU; untouched is segment-anything's own code, for comparison",
        ATTENTION,
    )
    decoder: str = option("batched", "the mask decoder: all images and prompts at once, or segment-anything's", DECODER)
    compile: bool = option(False, "torch.compile the encoder's blocks: where a trial is long enough to pay for it")


@dataclass(frozen=True)
class DataSettings:
    val_fraction: float = option(
        0.1,
        "share of the training split held out to choose by; 0 chooses on the test split, as published code",
        at_least=0,
        at_most=0.5,
    )
    threads: int = option(2, "threads that decode images, a rank", at_least=1)
    processes: int = option(0, "processes that do it in their place, a rank: for many cores beside a GPU", at_least=0)
    embeddings: str = option(
        "auto",
        "frozen encoders' embeddings, kept under STORAGE: auto is bf16 where the engine computes so, else fp32",
        ("auto", "off", "fp32", "bf16"),
    )


@dataclass(frozen=True)
class PromptSettings:
    """Prompts for single objects. What a trial is judged by does not depend on what it is trained with."""

    objects: str = option(
        "auto",
        "ask for objects one by one where the data set or the method wants it, or always",
        ("auto", "always"),
    )
    classes: str = option(
        "", "classes that are asked for, with commas (a module for each, as the paper has it); empty: all"
    )
    kind: str = option("point", "prompts in training: points, a box, or either by a coin", KINDS)
    points: int = option(1, "points of a prompt in training, uniform over the mask", at_least=1, at_most=20)
    jitter: float = option(
        0.1,
        "deviation of a box's corners in training, in its sides, 20 of 1024 pixels at most; SAM: 0.1",
        at_least=0,
        at_most=1,
    )
    per_image: int = option(4, "objects of an image in a batch, each with a prompt of its own", at_least=1)
    judged_by: str = option("point", "prompts that are measured: one random point, or a box", ("point", "box"))
    judged_jitter: float = option(0.1, "deviation of the corners of a measured box", at_least=0, at_most=1)
    repeats: int = option(20, "prompts of each object on the test split; validation has 4", at_least=2)
    at_most: int = option(16, "objects of an image that are measured, drawn from all; 0: all", at_least=0)


@dataclass(frozen=True)
class TrainSettings:
    epochs: int = option(20, "epochs", at_least=1)
    batch: int = option(8, "global batch over all ranks; SAM-Adapter: 4 GPUs x 2", at_least=1)
    optimizer: str = option(
        "adamw", "AdamW (SAM-Adapter), or Muon for SAM's large matrices beside it", ("adamw", "muon")
    )
    lr: float = option(2e-4, "AdamW's learning rate; SAM-Adapter: 2e-4", more_than=0)
    matrix_lr: float = option(0.02, "Muon's learning rate, for random weights; falls as lr does", more_than=0)
    lr_min: float = option(1e-7, "where the cosine ends, at most lr; SAM-Adapter: 1e-7", at_least=0)
    schedule: str = option(
        "epochs", "the cosine falls with each epoch (SAM-Adapter), or with each step", ("epochs", "steps")
    )
    warmup: int = option(0, "steps in which the rate rises to lr; with schedule=steps", at_least=0)
    clip: float = option(0.0, "the gradient's greatest norm; 0: no limit", at_least=0)
    samples: int = option(0, "samples of an epoch; 0: the whole split", at_least=0)
    keep_every: int = option(
        200, "steps between checkpoints within an epoch, to go on from after a kill; 0: after epochs only", at_least=0
    )
    patience: int = option(0, "epochs without a better one after which it stops; 0: never", at_least=0)
    weight_decay: float = option(0.01, "weight decay; AdamW's default in PyTorch, as SAM-Adapter", at_least=0)
    seed: int = option(0, "seed of initialisation, order and augmentation", at_least=0, at_most=2**31 - 1)
    precision: str = option("auto", "bf16 where the machine does it fast", ("auto", "fp32", "bf16"))
    micro_batch: int = option(
        0, "images that a rank computes at a time, the gradient being the whole batch's; 0: as many as fit", at_least=0
    )
    recompute: str = option(
        "auto",
        "encoder blocks that are computed a second time, to need less memory: auto is as many as it takes",
        ("auto", "none", "all"),
    )
    memory_gb: float = option(
        0.0, "memory that a rank may use; 0: the GPU's, or its cores' share of the machine's", at_least=0
    )
    workers: int = option(1, "DDP ranks of a trial", at_least=1)
    min_workers: int = option(
        0, "go on with as few ranks where a cluster has no room for all (WORKERS=1:4); 0: always all", at_least=0
    )
    cpus_per_worker: float = option(1.0, "CPU cores of a rank (its torch threads)", more_than=0)
    gpus_per_worker: float = option(0.0, "GPUs of a rank; a fraction only with one worker", at_least=0)

    @property
    def least_workers(self) -> int:
        """The ranks without which a trial does not start."""
        return self.min_workers or self.workers


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a trial computes. ``method_options`` is the method's own dataclass."""

    method: str
    dataset: str
    backbone: BackboneSettings
    data: DataSettings
    prompts: PromptSettings
    train: TrainSettings
    method_options: Any

    @property
    def execution(self) -> Execution:
        """How SAM's modules are to be computed."""
        return Execution(self.backbone.attention, self.backbone.decoder, compile=self.backbone.compile)

    @property
    def per_object(self) -> bool:
        """Whether objects are prompted for one by one on any data set."""
        return self.prompts.objects == "always" or registry.load(self.method).needs_prompts

    def flat(self) -> dict[str, Any]:
        """All settings by dotted key: ``{"train.lr": 2e-4, "method.token_temperature": 0.07, ...}``."""
        flat = {"method": self.method, "dataset": self.dataset}
        for section, value in self.sections().items():
            flat |= {f"{section}.{k}": v for k, v in dataclasses.asdict(value).items()}
        return flat

    def what_is_computed(self) -> dict[str, Any]:
        """All settings but those of how."""
        return {key: value for key, value in self.flat().items() if key not in WAYS}

    def sections(self) -> dict[str, Any]:
        return {
            "backbone": self.backbone,
            "data": self.data,
            "prompts": self.prompts,
            "train": self.train,
            "method": self.method_options,
        }

    def replace(self, changes: Mapping[str, Any]) -> Settings:
        """A copy with dotted keys changed; the values are checked as in ``make_settings``."""
        sections = self.sections()
        for key, value in changes.items():
            section, name = _split(key, sections)
            typed = _typed(key, value, sections[section], name)
            sections[section] = dataclasses.replace(sections[section], **{name: typed})
        settings = dataclasses.replace(
            self,
            backbone=sections["backbone"],
            data=sections["data"],
            prompts=sections["prompts"],
            train=sections["train"],
            method_options=sections["method"],
        )
        _check_together(settings)
        return settings


def make_settings(method: str, dataset: str, changes: Mapping[str, Any] | None = None) -> Settings:
    """Defaults of a method with dotted changes on top.

    Raises:
        UserError: an unknown method or key (with the nearest known ones), or a value that does not fit.
    """
    if method not in registry.names():
        raise unknown("method", method, registry.names())
    options = registry.load(method).Options()
    settings = Settings(method, dataset, BackboneSettings(), DataSettings(), PromptSettings(), TrainSettings(), options)
    return settings.replace(changes or {})


def from_flat(flat: Mapping[str, Any]) -> Settings:
    """The settings that ``Settings.flat`` wrote down."""
    rest = {k: v for k, v in flat.items() if k not in ("method", "dataset")}
    return make_settings(flat["method"], flat["dataset"], rest)


def with_new_settings(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded settings, and the defaults of those that are newer than the record."""
    try:
        return make_settings(flat["method"], flat["dataset"]).flat() | dict(flat)
    except UserError:
        return dict(flat)  # of a method that is here no more


def parse_set(text: str) -> dict[str, str]:
    """``"train.lr=1e-4 method.scale=16"`` to a dictionary of strings."""
    changes = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError(f"SET: {error}; quote a value with spaces") from None
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key or not value:
            raise UserError(f"SET: '{word}' is not KEY=VALUE; for example SET=\"train.lr=1e-4\"")
        changes[key] = value
    return changes


def describe(section: Any) -> list[tuple[str, Any, str]]:
    """(name, default, help) of each setting of a section, for `samsweep methods`."""
    return [(f.name, getattr(section, f.name), f.metadata.get("help", "")) for f in dataclasses.fields(section)]


def _split(key: str, sections: Mapping[str, Any]) -> tuple[str, str]:
    known = [f"{s}.{f.name}" for s, value in sections.items() for f in dataclasses.fields(value)]
    if key not in known:
        raise unknown("setting", key, known)
    section, name = key.split(".", 1)
    return section, name


@functools.cache
def _hints(section: type) -> dict[str, Any]:
    return typing.get_type_hints(section)


def _typed(key: str, value: Any, section: Any, name: str) -> Any:
    """The value as the field's type, within its limits; strings come from the command line."""
    wanted = _hints(type(section))[name]  # type: ignore[arg-type]
    metadata = next(f.metadata for f in dataclasses.fields(section) if f.name == name)
    optional = isinstance(wanted, types.UnionType)
    if optional and (value is None or value == "none"):
        return None
    target = next(t for t in typing.get_args(wanted) if t is not type(None)) if optional else wanted
    try:
        converted = _convert(value, target)
    except (ValueError, OverflowError):
        raise UserError(f"{key}={value}: not {_a(target)}") from None
    if metadata.get("path"):
        return str(Path(converted).expanduser().absolute())
    choices = metadata.get("choices", ())
    if choices and converted not in choices:
        raise unknown(f"value of {key}", str(converted), map(str, choices))
    _check_limits(key, converted, metadata.get("limits", {}))
    return converted


def _convert(value: Any, target: type) -> Any:
    if target is bool:
        if isinstance(value, bool):
            return value
        words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if str(value).lower() not in words:
            raise ValueError
        return words[str(value).lower()]
    if target is int and isinstance(value, float) and not value.is_integer():
        raise ValueError
    converted = target(value)
    if target is float and not math.isfinite(converted):
        raise ValueError
    return converted


def _a(target: type) -> str:
    return {bool: "true or false", int: "a whole number", float: "a number"}.get(target, target.__name__)


def _check_limits(key: str, value: Any, limits: Mapping[str, float]) -> None:
    if "at_least" in limits and not value >= limits["at_least"]:
        raise UserError(f"{key}={value}: must be at least {limits['at_least']}")
    if "more_than" in limits and not value > limits["more_than"]:
        raise UserError(f"{key}={value}: must be more than {limits['more_than']}")
    if "at_most" in limits and not value <= limits["at_most"]:
        raise UserError(f"{key}={value}: must be at most {limits['at_most']}")


def _check_together(settings: Settings) -> None:
    train = settings.train
    if train.workers > 1 and train.gpus_per_worker % 1:
        raise UserError(
            f"train.gpus_per_worker={train.gpus_per_worker}: a fraction of a GPU works only with train.workers=1"
        )
    if settings.backbone.start == "random" and settings.backbone.checkpoint:
        raise UserError("backbone.start=random: there is a backbone.checkpoint too; give one of them")
    if train.optimizer != "muon" and train.matrix_lr != TrainSettings.matrix_lr:
        raise UserError(f"train.matrix_lr={train.matrix_lr}: is Muon's; add train.optimizer=muon, or leave it out")
    if settings.prompts.objects == "always" and not registry.load(settings.method).answers:
        raise UserError(f"prompts.objects=always: method '{settings.method}' draws its own prompts; leave it out")
    if train.min_workers > train.workers:
        raise UserError(f"train.min_workers={train.min_workers}: more than train.workers={train.workers}")
    if train.workers > train.batch:
        raise UserError(f"train.workers={train.workers}: more ranks than train.batch={train.batch}; raise the batch")
