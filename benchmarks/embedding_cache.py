"""What stored embeddings save: an epoch of a frozen-encoder method with and without them, in one run on one CPU.

    make bench-embeddings                                          prompt_learning, vit_b at 1024 px: some minutes
    python benchmarks/embedding_cache.py --method decoder          another method

An epoch is what a trial does in it: training on the images, then the validation part at original resolution. The
weights are random, the pictures drawn: neither changes the time. Exit 1 where the epoch with stored embeddings is
not 20 times as fast, a loss or a metric differs by more than 1e-4, or a second trial runs the encoder.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from orchestrator.config import make_settings
from orchestrator.data import standin
from orchestrator.data.ingest import ingest
from orchestrator.data.reader import open_dataset
from orchestrator.job import Job, run_job
from orchestrator.ranks import Ranks
from orchestrator.storage import Storage

FASTER, APART = 20.0, 1e-4
TEST = 2  #: images to test by, which an epoch does not see


def job_of(folder: Path, a: argparse.Namespace, trial: str, **changes: Any) -> Job:
    """A trial's job that ends untested after its first epoch of two."""
    fixed = {
        "backbone.name": a.backbone,
        "backbone.start": "random",
        "data.val_fraction": 0.25,
        "data.embeddings": "fp32",
        "train.epochs": 2,
        "train.batch": a.batch,
        "train.precision": "fp32",
    }
    settings = make_settings(a.method, "drawn", fixed | changes)
    data = Storage(str(folder / "data"))
    fingerprint = open_dataset(data, "drawn").manifest.fingerprint
    return Job(settings.flat(), data.uri, str(folder / trial), fingerprint, 1, str(folder / "storage"))


def run(job: Job) -> tuple[dict[str, Any], float]:
    """The first epoch's record, and the seconds of all that was not the epoch."""
    records: list[dict[str, Any]] = []
    began = time.perf_counter()
    run_job(job, Ranks(), torch.device("cpu"), lambda record: not records.append(record))
    (record,) = records
    return record, time.perf_counter() - began - seconds_of(record)


def seconds_of(record: dict[str, Any]) -> float:
    return float(record["seconds"] + record["eval_seconds"])


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """The largest difference of a loss or a metric."""
    return max(abs(one[what][name] - other[what][name]) for what in ("losses", "val") for name in one[what])


def said(what: str, record: dict[str, Any], rest: float) -> None:
    train, measure = record["seconds"], record["eval_seconds"]
    print(
        f"{what}: epoch {train + measure:.2f} s (training {train:.2f}, validation {measure:.2f}), "
        f"before it {rest:.1f} s; the encoder saw {record['encoded']} images",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="prompt_learning")
    parser.add_argument("--backbone", default="vit_b")
    parser.add_argument("--images", type=int, default=12, help="to train on and to choose by (a quarter)")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    with TemporaryDirectory(prefix="samsweep-") as name:
        folder = Path(name)
        standin.write_folders("binary", folder / "pictures", train=a.images, test=TEST, seed=0)
        ingest("drawn", folder / "pictures", Storage(str(folder / "data")), layout="folders", task="binary")
        print(f"{a.method}, {a.backbone}, {a.images} images, batch {a.batch}, {a.threads} threads", flush=True)
        without, rest = run(dataclasses.replace(job_of(folder, a, "without"), storage=""))
        said("without", without, rest)
        first, filling = run(job_of(folder, a, "first"))
        said("with, first trial", first, filling)
        second, rest = run(job_of(folder, a, "second", **{"train.seed": 1}))
        said("with, second trial", second, rest)
    ratio, difference = seconds_of(without) / seconds_of(first), apart(without, first)
    print(
        f"{ratio:.1f} times as fast (at least {FASTER:.0f}), largest difference {difference:.1e} (at most {APART:.0e})"
    )
    return int(ratio < FASTER or difference > APART or second["encoded"] > 0)


if __name__ == "__main__":
    sys.exit(main())
