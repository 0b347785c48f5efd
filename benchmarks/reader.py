"""How fast 2,000 JPEG + mask pairs come from storage, through this project's reader and through others'.

    make bench-reader REAL=../shared/data/kvasir_seg        # images/ and masks/, repeated up to 2,000 pairs

Every reader holds the same encoded files in its own format, in sixteen parts where it leaves them to its user, is set
up as its own documentation says, has two workers, shuffles and gives batches of eight (Ray Data shuffles the files
alone: a buffer of rows would cost it more). The clock starts with everything imported and Ray's workers up. `decoded`
counts samples at SAM's 1024 px input (image 3x1024x1024, mask 1x1024x1024), `raw` the megabytes of encoded files.
`cold` begins with the files out of the page cache (and, for ours, an empty cache of our own), `warm` repeats it.
The others decode and resize with Pillow, as their users do; `files+` is torch's DataLoader with our own two steps,
to tell the reader's part from the pixels'. Each runs in a process of its own; memory is the peak of the
proportional share (PSS) of it and its children.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import logging
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import psutil
from PIL import Image

SIDE, BATCH, WORKERS = 1024, 8, 2
PARTS = 16  #: shards or files of a format that has them: both workers find as many
Pairs = list[tuple[str, str]]  #: image and mask files
Counted = Iterator[tuple[int, int]]  #: samples and bytes of each batch


def by_pillow(image: bytes, mask: bytes) -> tuple[np.ndarray, np.ndarray]:
    picture = Image.open(io.BytesIO(image)).convert("RGB")
    scale = SIDE / max(picture.size)
    size = (int(picture.width * scale + 0.5), int(picture.height * scale + 0.5))
    ground = Image.open(io.BytesIO(mask)).convert("L").resize(size, Image.Resampling.NEAREST)
    out = np.zeros((3, SIDE, SIDE), np.uint8), np.zeros((1, SIDE, SIDE), np.uint8)
    out[0][:, : size[1], : size[0]] = np.asarray(picture.resize(size, Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    out[1][0, : size[1], : size[0]] = np.asarray(ground) > 127
    return out


def by_ours(image: bytes, mask: bytes) -> tuple[np.ndarray, np.ndarray]:
    from orchestrator.data.check import decode_image, decode_mask
    from orchestrator.data.loader import fit, valid_size

    picture = decode_image(image)
    valid = valid_size(*picture.shape[:2], SIDE, "pad")
    return fit(picture, decode_mask(mask, 127), SIDE, valid, flip=False)


class Sample:
    """What a worker makes of one pair: arrays, or the files themselves."""

    def __init__(self, raw: bool, decode: Callable[[bytes, bytes], Any] = by_pillow) -> None:
        self.raw, self.decode = raw, decode

    def __call__(self, image: bytes, mask: bytes) -> Any:
        return (image, mask) if self.raw else self.decode(image, mask)

    def collate(self, samples: list[Any]) -> Any:
        import torch

        if self.raw:
            return samples
        return [torch.from_numpy(np.stack(part)) for part in zip(*samples, strict=True)]

    def count(self, batch: Any) -> tuple[int, int]:
        return (len(batch), sum(len(i) + len(m) for i, m in batch)) if self.raw else (len(batch[0]), 0)


class Files:
    """The pairs as a map-style dataset."""

    def __init__(self, pairs: Pairs, sample: Sample) -> None:
        self.pairs, self.sample = pairs, sample

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, i: int) -> Any:
        return self.sample(*map(_read, self.pairs[i]))


def through_torch(dataset: Any, sample: Sample, shuffle: bool = True, collate: Any = None) -> Counted:
    from torch.utils.data import DataLoader

    loader = DataLoader(dataset, BATCH, shuffle=shuffle, num_workers=WORKERS, collate_fn=collate or sample.collate)
    return (sample.count(batch) for batch in loader)


def files(pairs: Pairs, out: Path, sample: Sample) -> Counted:
    return through_torch(Files(pairs, sample), sample)


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


def make_wds(pairs: Pairs, out: Path) -> None:
    import webdataset as wds

    with wds.ShardWriter(str(out / "%05d.tar"), maxcount=-(-len(pairs) // PARTS), verbose=0) as writer:
        for i, (image, mask) in enumerate(pairs):
            writer.write({"__key__": f"{i:06d}", "jpg": _read(image), "png": _read(mask)})


def read_wds(pairs: Pairs, out: Path, sample: Sample) -> Counted:
    import webdataset as wds

    shards = sorted(str(p) for p in out.glob("*.tar"))
    split = wds.WebDataset(shards, shardshuffle=len(shards)).shuffle(1000).to_tuple("jpg", "png")
    batches = split.map(lambda pair: sample(*pair)).batched(BATCH, collation_fn=sample.collate)
    for batch in wds.WebLoader(batches, batch_size=None, num_workers=WORKERS):
        yield sample.count(batch)


def make_mds(pairs: Pairs, out: Path) -> None:
    from streaming import MDSWriter
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()  # a killed run's
    with MDSWriter(out=str(out / "mds"), columns={"image": "bytes", "mask": "bytes"}) as writer:
        for image, mask in pairs:
            writer.write({"image": _read(image), "mask": _read(mask)})


def read_mds(pairs: Pairs, out: Path, sample: Sample) -> Counted:
    from streaming import StreamingDataset

    class Stream(StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, at: int) -> Any:
            row = super().__getitem__(at)
            return sample(row["image"], row["mask"])

    yield from through_torch(Stream(local=str(out / "mds"), shuffle=True, batch_size=BATCH), sample, shuffle=False)


def make_hf(pairs: Pairs, out: Path) -> None:
    import datasets

    def rows() -> Iterator[dict[str, bytes]]:
        for image, mask in pairs:
            yield {"image": _read(image), "mask": _read(mask)}

    datasets.disable_progress_bars()
    datasets.Dataset.from_generator(rows, cache_dir=str(out / "made")).save_to_disk(str(out / "hf"))
    shutil.rmtree(out / "made")


def read_hf(pairs: Pairs, out: Path, sample: Sample) -> Counted:
    import datasets

    def transform(rows: dict[str, list[bytes]]) -> dict[str, list[Any]]:
        return {"pair": [sample(i, m) for i, m in zip(rows["image"], rows["mask"], strict=True)]}

    split = datasets.load_from_disk(str(out / "hf")).with_transform(transform)
    return through_torch(split, sample, collate=lambda rows: sample.collate([row["pair"] for row in rows]))


def make_ray(pairs: Pairs, out: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    size = -(-len(pairs) // PARTS)
    for start in range(0, len(pairs), size):
        some = pairs[start : start + size]
        table = pa.table({"image": [_read(i) for i, _ in some], "mask": [_read(m) for _, m in some]})
        pq.write_table(table, out / f"{start:06d}.parquet", compression="none")


def read_ray(pairs: Pairs, out: Path, sample: Sample) -> Counted:
    import ray

    def decoded(batch: dict[str, Any]) -> dict[str, Any]:
        both = [sample(i, m) for i, m in zip(batch["image"], batch["mask"], strict=True)]
        return {"image": np.stack([i for i, _ in both]), "mask": np.stack([m for _, m in both])}

    split = ray.data.read_parquet(str(out), shuffle="files")
    split = split if sample.raw else split.map_batches(decoded, batch_size=BATCH)
    for batch in split.iter_batches(batch_size=BATCH, prefetch_batches=2):
        size = sum(len(v) for name in ("image", "mask") for v in batch[name]) if sample.raw else 0
        yield len(batch["image"]), size


def start_ray() -> None:
    import ray
    import ray.data

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # its workers cannot import this script
    ray.init("local", num_cpus=WORKERS, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.use_datasource_v2 = False  # the newer Parquet reader takes seconds longer to the first batch
    with TemporaryDirectory() as tiny:  # its workers start and import
        ray.data.range(WORKERS).write_parquet(tiny)
        ray.data.read_parquet(tiny).map_batches(lambda batch: batch).materialize()


def make_ours(pairs: Pairs, out: Path) -> None:
    from orchestrator.data.ingest import ingest
    from orchestrator.storage import Storage

    source = Path(pairs[0][0]).parents[2]  # DIR/train/images/x.jpg
    ingest("pairs", source, Storage(str(out)), "folders", "binary")


def read_ours(pairs: Pairs, out: Path, sample: Sample) -> Counted:
    from orchestrator.data.loader import Loader
    from orchestrator.data.order import epoch_order, rank_batches
    from orchestrator.data.reader import open_dataset
    from orchestrator.storage import Storage

    split = open_dataset(Storage(str(out)), "pairs").split("train")
    order = epoch_order(len(split), 0, 1)
    if sample.raw:
        for start in range(0, len(order), BATCH):
            batch = [split.encoded(int(i)) for i in order[start : start + BATCH]]
            yield len(batch), sum(len(i) + len(m) for i, m in batch)
        return
    for made in Loader(split, SIDE, "pad", rank_batches(order, BATCH, 0, 1), 0, 1, train=False, threads=WORKERS):
        yield len(made), 0


class Reader(NamedTuple):
    make: Callable[..., None] | None  #: (pairs, out) writes its format
    read: Callable[..., Counted]  #: (pairs, out, sample) is what the clock measures
    module: str = "torch.utils.data"  #: imported before that
    start: Callable[[], None] = lambda: None  #: called before that
    decode: Callable[[bytes, bytes], Any] = by_pillow


READERS = {
    "samsweep": Reader(make_ours, read_ours, "orchestrator.data.loader"),
    "torch DataLoader over files": Reader(None, files),
    "files+ (our decoding)": Reader(None, files, "orchestrator.data.loader", decode=by_ours),
    "WebDataset": Reader(make_wds, read_wds, "webdataset"),
    "MosaicML Streaming": Reader(make_mds, read_mds, "streaming"),
    "HF datasets": Reader(make_hf, read_hf, "datasets"),
    "Ray Data": Reader(make_ray, read_ray, "ray.data", start_ray),
}


def run(name: str, raw: bool, pairs: Pairs, out: Path, tell: Any) -> None:
    """In a process of its own: one pass; tells samples, bytes, seconds and seconds to the first batch."""
    os.environ["SAMSWEEP_CACHE"] = str(out / "cache")
    multiprocessing.set_start_method("fork", force=True)  # the loaders' own default on Linux
    reader = READERS[name]
    for module in ("torch.utils.data", reader.module):
        importlib.import_module(module)
    reader.start()
    began = time.perf_counter()
    first, samples, size = 0.0, 0, 0
    for count, read_bytes in reader.read(pairs, out, Sample(raw, reader.decode)):
        first = first or time.perf_counter() - began
        samples, size = samples + count, size + read_bytes
    tell.send({"samples": samples, "bytes": size, "seconds": time.perf_counter() - began, "first": first})


def measure(name: str, raw: bool, pairs: Pairs, out: Path) -> dict[str, float]:
    """Run a reader in a fresh process and watch its memory."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=run, args=(name, raw, pairs, out, theirs))
    process.start()
    theirs.close()
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.25):
            peak[0] = max(peak[0], _pss(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        told: dict[str, float] = ours.recv()
    finally:
        over.set()
        watcher.join()
        process.join()
    return told | {"peak_mb": peak[0]}


def _pss(pid: int | None) -> float:
    total = 0
    with suppress(psutil.Error):
        me = psutil.Process(pid)
        for process in [me, *me.children(recursive=True)]:
            with suppress(psutil.Error):  # it ended just now
                total += process.memory_full_info().pss
    return total / 2**20


def forget(folder: Path) -> None:
    """Ask the kernel to drop a folder's files from the page cache."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def make_pairs(source: Path, out: Path, count: int) -> Pairs:
    """``count`` pairs of image and mask files, the source's over and over under names of their own."""
    images = sorted((source / "images").glob("*.jpg"))
    if not images:
        sys.exit(f"{source}: no images/*.jpg there")
    pairs = []
    for kind in ("images", "masks"):
        (out / "train" / kind).mkdir(parents=True)
    for i in range(count):
        image = images[i % len(images)]
        mask = next((source / "masks").glob(f"{image.stem}.*"))
        to = out / "train/images" / f"{i:05d}.jpg", out / "train/masks" / f"{i:05d}.png"
        shutil.copyfile(image, to[0])
        Image.open(mask).convert("L").save(to[1])
        pairs.append((str(to[0]), str(to[1])))
    for path in to:  # the layout asks for a test split
        (out / "test" / path.parent.name).mkdir(parents=True)
        shutil.copy(path, out / "test" / path.parent.name)
    return pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder with images/*.jpg and masks/")
    parser.add_argument("--pairs", type=int, default=2000)
    parser.add_argument("--only", nargs="*", default=list(READERS), choices=list(READERS), metavar="NAME")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    a = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    print(f"{a.pairs} pairs, {WORKERS} workers, {os.cpu_count()} cores, batches of {BATCH}\n")
    print("| reader | decoded/s cold | warm | first batch s | peak MB | raw MB/s cold | warm | raw first s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with TemporaryDirectory(prefix="samsweep-bench-") as folder:
        pairs = make_pairs(a.source, Path(folder) / "files", a.pairs)
        for name in a.only:
            found[name] = row = _row(name, pairs, Path(folder))
            print(
                f"| {name} | {row['cold']:.0f} | {row['warm']:.0f} | {row['first']:.2f} | {row['peak_mb']:.0f} "
                f"| {row['raw_cold']:.0f} | {row['raw_warm']:.0f} | {row['raw_first']:.2f} |",
                flush=True,
            )
    if a.json:
        a.json.write_text(json.dumps(found, indent=1))


def _row(name: str, pairs: Pairs, folder: Path) -> dict[str, float]:
    """A reader's numbers: its format made by a process of its own, then two passes of each kind."""
    make = READERS[name].make
    out = folder / str(list(READERS).index(name))
    out.mkdir()
    if make:
        process = multiprocessing.get_context("spawn").Process(target=make, args=(pairs, out))
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(f"{name}: its format could not be written")
    size = sum(Path(path).stat().st_size for pair in pairs for path in pair)
    passes = {}
    for kind in ("decoded", "raw"):
        shutil.rmtree(out / "cache", ignore_errors=True)
        forget(out if make else folder / "files")
        passes[kind] = [measure(name, kind == "raw", pairs, out) for _ in range(2)]
        for one in passes[kind]:
            if (one["samples"], one["bytes"]) != (len(pairs), size if kind == "raw" else 0):
                sys.exit(f"{name}: gave {one['samples']} of {len(pairs)} samples, {one['bytes']} of {size} bytes")
    shutil.rmtree(out)
    (cold, warm), (raw_cold, raw_warm) = passes["decoded"], passes["raw"]
    return {
        "cold": cold["samples"] / cold["seconds"],
        "warm": warm["samples"] / warm["seconds"],
        "first": warm["first"],
        "peak_mb": max(cold["peak_mb"], warm["peak_mb"]),
        "raw_cold": raw_cold["bytes"] / 2**20 / raw_cold["seconds"],
        "raw_warm": raw_warm["bytes"] / 2**20 / raw_warm["seconds"],
        "raw_first": raw_warm["first"],
    }


if __name__ == "__main__":
    main()
