"""Where a training step's time goes: by phase, and by operation.

python benchmarks/profile.py                              sam_adapter, vit_b at 1024 px, as benchmarks/step.py
python benchmarks/profile.py --one untouched --out trace.json     segment-anything's own modules, with a trace for
                                                                  chrome://tracing or ui.perfetto.dev
"""

from __future__ import annotations

from pathlib import Path

import torch
from step import PRECISIONS, WAYS, batch_of, now, parser_of, prepared
from torch.profiler import ProfilerActivity, profile

from methods.backbone.build import SIZES
from orchestrator.build import pick_device

LINES = 25


def main() -> int:
    parser = parser_of(__doc__)
    parser.add_argument("--one", choices=list(WAYS), default="ours", help="the way it is computed")
    parser.add_argument("--precision", default="fp32", choices=list(PRECISIONS))
    parser.add_argument("--out", type=Path, help="where to write a trace")
    a = parser.parse_args()
    a.side = a.side or SIZES[a.backbone].side
    device = pick_device()
    run, optimizer = prepared(a, device)
    batch = batch_of(run.method, a.batch, a.side).to(device)
    run(batch)
    began = now(device)
    with torch.no_grad(), run.autocast():
        prediction = run.method(batch)
    forward = now(device) - began
    del prediction
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    began = now(device)
    with profile(activities=activities) as told:
        run(batch)
        both = now(device) - began
        if optimizer:
            optimizer.step()
    update = now(device) - began - both
    print(f"forward alone {forward:.2f} s, forward and backward {both:.2f} s, optimizer {update:.3f} s")
    order = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    rows = sorted(told.key_averages(), key=lambda row: -getattr(row, order))
    whole = sum(getattr(row, order) for row in rows)
    print(f"{'operation':45} {'calls':>7} {'s':>8} {'share':>6}")
    for row in rows[:LINES]:
        print(f"{row.key[:45]:45} {row.count:7} {getattr(row, order) / 1e6:8.3f} {getattr(row, order) / whole:6.1%}")
    if a.out:
        told.export_chrome_trace(str(a.out))
    return 0
