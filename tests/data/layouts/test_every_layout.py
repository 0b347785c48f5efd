"""What holds for all layouts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.data.layouts import LAYOUTS


@pytest.mark.parametrize("layout", ["istd", "cod10k", "hqseg", "kvasir"])
def test_a_layout_of_binary_masks_is_no_other_task(layout: str) -> None:
    assert LAYOUTS[layout].coding == "binary"


def test_every_layout_is_tested_or_is_a_plain_pair() -> None:
    files = Path(__file__).parent.glob("test_*.py")
    tested = {name for file in files for name in re.findall(r"^def test_(\w+)", file.read_text(), re.MULTILINE)}
    elsewhere = {"cod10k", "cod4040", "camo", "chameleon", "istd", "sbu", "folders", "kvasir", "kvasir900"}
    assert set(LAYOUTS) - elsewhere <= tested
