"""Make the weights that the small SegFormer starts from: methods/parts/segformer_t.

    python benchmarks/start_weights.py --out methods/parts/segformer_t     # a quarter of an hour on two cores

Draws pinhole views of streets that no stand-in shows, trains a SegFormer on them through `samsweep train`, and keeps
its encoder in half precision, as transformers saves one. Called again, it goes on with what is there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from methods.parts.segformer import SegFormer
from orchestrator import checkpoint
from orchestrator.data.ingest import ingest
from orchestrator.data.schema import load_manifest
from orchestrator.data.standin import indices
from orchestrator.data.standin.town.panoramas import write_view
from orchestrator.storage import Storage

SAMSWEEP = str(Path(sys.executable).with_name("samsweep"))
SEED = 1000  #: of the streets; stand-ins have 0
VIEWS, TEST = 3000, 64
SETTINGS = (
    "method.size=t method.start=random method.augment=flip train.lr=3e-3 train.warmup=200 train.clip=1 train.batch=8 "
    "train.schedule=steps data.val_fraction=0.01"
)


def draw(folder: Path, data: Storage) -> None:
    """Draw and ingest the views, unless they are there."""
    if load_manifest(data, "cityscapes"):
        return
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(write_view, folder, SEED), indices(VIEWS, TEST), chunksize=32))
    ingest("cityscapes", folder, data, layout="cityscapes", task="semantic", stand_in=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("results/start-weights"))
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    data, storage = Storage(str(a.work / "data")), Storage(str(a.work / "runs"))
    draw(a.work / "views", data)
    if not storage.exists("start"):
        cores = f"train.cpus_per_worker={os.cpu_count()}"
        words = ["train", "segformer", "cityscapes", "--local", "--name", "start", "--epochs", "10"]
        words += ["--data", data.uri, "--storage", storage.uri, "--set", f"{SETTINGS} {cores}"]
        subprocess.run([SAMSWEEP, *words], check=True)
    record, tensors = checkpoint.read(storage / "start" / "trials" / "single")
    net = SegFormer("t", len(record.classes))
    net.load_state_dict({name.removeprefix("net."): tensor for name, tensor in tensors.items()}, strict=False)
    net.net.segformer.half().save_pretrained(a.out)
    print(f"{a.out}: epoch {record.epoch}, {record.metrics}")


if __name__ == "__main__":
    main()
