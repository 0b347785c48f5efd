"""What a training step costs: seconds, images a second, peak memory, against segment-anything's untouched modules.

    make bench-step                                     sam_adapter, vit_b, 1024 px, batch 1: the four that count
    python benchmarks/step.py --method mca --side 256 --backbone vit_t --batch 4
    python benchmarks/step.py --sizes --steps 1         every size at 256, 512 and 1024 px; --methods: every method
    python benchmarks/step.py --parts                   each optimisation by itself

Each way runs in a process of its own with the same method, images and random weights (which change no time): a step
to warm up, then ``--steps``; the median counts. Memory is the process's highest, or the GPU's. The rate of its
matrix products is told beside that of one large product on the same device. No Ray is needed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from segment_anything.modeling import ImageEncoderViT, PromptEncoder, Sam
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

from methods import registry
from methods.backbone.build import SIZES, build
from methods.backbone.execution import UNTOUCHED, Execution, execute
from methods.base import Batch, Method
from methods.parts.labeller import Labeller
from methods.parts.sampler import PromptRule, draw_prompts
from orchestrator.build import pick_device
from orchestrator.config import make_settings
from orchestrator.memory import peak_memory_mb, reset_peak_memory
from orchestrator.optimizer import Optimizers, make_optimizers
from orchestrator.provenance import cpu_model
from orchestrator.step import Pass

#: Ways to compute a step, by name: ours, theirs, and ours with one thing as theirs.
WAYS = {
    "ours": Execution(),
    "untouched": UNTOUCHED,
    "tiled": Execution(attention="tiled"),
    "sdpa": Execution(attention="sdpa"),
    "attention-untouched": Execution(attention="untouched"),
    "decoder-untouched": Execution(decoder="untouched"),
    "recompute": Execution(recompute=1000),
    "compiled": Execution(compile=True),
}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
#: The most that the first may be of the second: time and memory; sam_adapter, vit_b, 1024 px, batch 1 on a CPU.
WANTED = [
    (("ours", "fp32"), ("untouched", "fp32"), 0.85, 0.5),
    (("ours", "bf16"), ("untouched", "fp32"), 0.28, 0.35),
    (("ours", "bf16"), ("untouched", "bf16"), 0.75, 0.6),
]


def sized(name: str, side: int) -> Sam:
    """SAM with random weights for inputs of ``side`` pixels."""
    sam, size = build(name, random=True), SIZES[name]
    if side == size.side:
        return sam
    sam.image_encoder = ImageEncoderViT(
        img_size=side, embed_dim=size.width, depth=size.depth, num_heads=size.heads, out_chans=size.prompt_width,
        norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=size.window,
        global_attn_indexes=size.global_blocks,
    )  # fmt: skip
    sam.prompt_encoder = PromptEncoder(size.prompt_width, (side // 16, side // 16), (side, side), 16)
    return sam


def batch_of(method: Method, images: int, side: int) -> Batch:
    """Noise with a disc to be found, prompted for where the method wants it."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (images, 3, side, side), generator=generator, dtype=torch.uint8)
    far = (torch.arange(side) - side // 2).square()
    disc = (far[:, None] + far[None] < (side // 4) ** 2).to(torch.uint8)
    whole, numbers = torch.full((images, 2), side), torch.arange(images)
    mask = disc.expand(images, method.masks, -1, -1).contiguous()
    batch = Batch(image, mask, whole, whole, numbers, numbers, torch.ones(images))
    if not method.needs_prompts:
        return batch
    return dataclasses.replace(batch, prompts=draw_prompts(batch.mask, batch.seed, PromptRule("point")))


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Products of two large matrices, in 10^9 operations a second."""
    a, b = (torch.randn(4096, 3072, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(4):
        began = now(device)
        a @ b.T
        seconds.append(now(device) - began)
    return 2 * 4096 * 4096 * 3072 / min(seconds) / 1e9


def now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def prepared(a: argparse.Namespace, device: torch.device) -> tuple[Pass, Optimizers | None]:
    """A method's pass over a batch, computed as ``a.one`` says, and what updates its weights."""
    torch.set_num_threads(a.threads)
    changes = dict(word.split("=", 1) for word in a.set.split())
    settings = make_settings(a.method, "x", {f"method.{k}": v for k, v in changes.items()})
    torch.manual_seed(0)
    method = registry.load(a.method)(sized(a.backbone, a.side), settings.method_options).to(device).train()
    execute(method, WAYS[a.one])
    return Pass(method, method, device, PRECISIONS[a.precision], a.part), make_optimizers(method, settings.train)


def as_rank(rank: int, a: argparse.Namespace, port: int, told: Any) -> None:
    """Entry of a rank of several: its share of the batch, gradients exchanged."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=a.ranks)
    found = measure(a)
    if rank == 0:
        told.put(found)
    dist.destroy_process_group()


def measure_ranks(a: argparse.Namespace) -> dict[str, Any]:
    """One way on several ranks of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = torch.multiprocessing.get_context("spawn").SimpleQueue()
    torch.multiprocessing.spawn(as_rank, (a, port, told), nprocs=a.ranks)
    return dict(told.get())


def measure(a: argparse.Namespace) -> dict[str, Any]:
    """One way, in this process: alone, or as one of the ranks."""
    device = pick_device()
    run, optimizer = prepared(a, device)
    batch = batch_of(run.method, a.batch // a.ranks, a.side).to(device)
    if a.ranks > 1:
        run.model = DistributedDataParallel(run.method, broadcast_buffers=False, gradient_as_bucket_view=True)

    def step() -> float:
        began = now(device)
        if optimizer:
            optimizer.zero_grad()
        run(batch)
        if optimizer:
            optimizer.step()
        return now(device) - began

    work = None
    if a.one == "untouched":  # what there is to do, without what our own way does twice
        with FlopCounterMode(display=False) as counter:
            step()
        work = counter.get_total_flops()
    else:
        step()
    reset_peak_memory(device)
    seconds = statistics.median(step() for _ in range(a.steps))
    return {"seconds": seconds, "mb": peak_memory_mb(device), "flops": work, "gflops": matrix_rate(device, run.dtype)}


def in_a_process(a: argparse.Namespace, way: str, precision: str) -> dict[str, Any] | None:
    """A way's figures; None where it failed, as a rule for want of memory."""
    words = [sys.executable, __file__, "--one", way, "--precision", precision, "--method", a.method]
    words += ["--backbone", a.backbone, "--side", str(a.side), "--batch", str(a.batch), "--steps", str(a.steps)]
    words += ["--threads", str(a.threads), "--part", str(a.part), "--set", a.set, "--ranks", str(a.ranks)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    return dict(json.loads(done.stdout.splitlines()[-1])) if done.returncode == 0 else None


def compared(a: argparse.Namespace, ways: list[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Each way's figures, printed as a line of a table."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    first = None
    for way in ways:
        one = in_a_process(a, *way)
        if one is None:
            print(f"| {a.method} | {a.backbone} | {a.side} | {a.batch} | {way[0]} {way[1]} | failed |", flush=True)
            continue
        found[way] = one
        first = first or one
        work = next((f["flops"] for f in found.values() if f["flops"]), None)
        share = f"{work / one['seconds'] / 1e9 / one['gflops']:.2f}" if work else "-"
        print(
            f"| {a.method} | {a.backbone} | {a.side} | {a.batch} | {way[0]} {way[1]} | {one['seconds']:.2f} | "
            f"{a.batch / one['seconds']:.2f} | {one['mb']:.0f} | {share} | {one['seconds'] / first['seconds']:.2f} | "
            f"{one['mb'] / first['mb']:.2f} |",
            flush=True,
        )
    return found


def judged(found: dict[tuple[str, str], dict[str, Any]]) -> int:
    """Exit code: 1 where a ratio is above the one that is wanted."""
    failed = False
    for ours, theirs, time_most, memory_most in WANTED:
        if ours in found and theirs in found:
            times = found[ours]["seconds"] / found[theirs]["seconds"]
            memory = found[ours]["mb"] / found[theirs]["mb"]
            held = times <= time_most and memory <= memory_most
            failed |= not held
            print(
                f"{ours[0]} {ours[1]} against {theirs[0]} {theirs[1]}: {times:.2f} of the time (at most {time_most}), "
                f"{memory:.2f} of the memory (at most {memory_most}): {'holds' if held else 'DOES NOT HOLD'}"
            )
    return int(failed)


def parser_of(text: str | None) -> argparse.ArgumentParser:
    """What is trained, and on what: the options of this benchmark and of the profile."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="sam_adapter", choices=registry.names())
    parser.add_argument("--backbone", default="vit_b", choices=list(SIZES))
    parser.add_argument("--side", type=int, default=0, help="pixels; 0: the backbone's own")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--part", type=int, default=0, help="images at a time; 0: all")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--set", default="", help='the method\'s options: "sample_weight=0 tokens=0"')
    return parser


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--ranks", type=int, default=1, help="DDP ranks that share the batch, with --threads each")
    parser.add_argument("--only", default="", help="precisions, with commas: fp32,bf16")
    parser.add_argument("--parts", action="store_true", help="each optimisation by itself")
    parser.add_argument("--sizes", action="store_true", help="all sizes at 256, 512 and 1024 px")
    parser.add_argument("--methods", action="store_true", help="all methods that adapt SAM")
    parser.add_argument("--one", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="fp32", help=argparse.SUPPRESS)
    a = parser.parse_args()
    a.side = a.side or SIZES[a.backbone].side
    if a.one:
        print(json.dumps(measure(a) if a.ranks == 1 else measure_ranks(a)))
        return 0
    precisions = a.only.split(",") if a.only else list(PRECISIONS)
    print(f"{pick_device()}, {cpu_model()}, {a.threads} threads, torch {torch.__version__}")
    print("| method | SAM | px | batch | way | s a step | images/s | MB | of matrix rate | time | memory |")
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    if a.parts:
        ways = ["untouched", *(way for way in WAYS if way != "untouched")]
        compared(a, [(way, precision) for precision in precisions for way in ways])
        return 0
    both = [(way, precision) for precision in precisions for way in ("untouched", "ours")]
    if not a.sizes and not a.methods:
        found = compared(a, both)
        wanted = (a.method, a.backbone, a.side, a.batch, a.ranks) == ("sam_adapter", "vit_b", 1024, 1, 1)
        return judged(found) if wanted and pick_device().type == "cpu" else 0
    shapes = [(name, side) for name in SIZES for side in (256, 512, 1024)] if a.sizes else [(a.backbone, a.side)]
    names = [n for n in registry.names() if not issubclass(registry.load(n), Labeller) and registry.load(n).trains]
    for name in names if a.methods else [a.method]:
        for backbone, side in shapes:
            compared(argparse.Namespace(**{**vars(a), "method": name, "backbone": backbone, "side": side}), both)
    return 0


if __name__ == "__main__":
    sys.exit(main())
