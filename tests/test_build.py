"""Which precision a machine computes fast."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orchestrator import build
from orchestrator.build import pick_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("vendor", "flags", "wanted"),
    [
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16 amx_tile", torch.bfloat16),
        ("GenuineIntel", "avx512f avx512_bf16", torch.float32),
        ("AuthenticAMD", "avx512f avx512_bf16", torch.bfloat16),
        ("AuthenticAMD", "avx2", torch.float32),
    ],
)
def test_bf16_only_where_it_is_fast(
    vendor: str, flags: str, wanted: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"vendor_id\t: {vendor}\nmodel name\t: X\nflags\t\t: fpu {flags}\n")
    monkeypatch.setattr(build, "CPU_INFO", info)
    assert pick_precision("auto", CPU) is wanted
    assert pick_precision("bf16", CPU) is torch.bfloat16 and pick_precision("fp32", CPU) is torch.float32
