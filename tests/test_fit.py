"""Finding the largest batch that fits: the choice, and what is tried for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from batches import make_batch, make_method
from hypothesis import given
from hypothesis import strategies as st

from methods.backbone.execution import execution_of
from orchestrator import fit as fitting
from orchestrator.config import TrainSettings
from orchestrator.errors import UserError
from orchestrator.fit import Fit, choose, make_fit
from orchestrator.memory import GIB, machine_memory, memory_budget, peak_memory_mb, release_memory, reset_peak_memory
from orchestrator.ranks import Ranks
from orchestrator.step import Pass

CPU = torch.device("cpu")


def needed(fixed: float, of_block: float, rest: float, depth: int, images: int, blocks: int) -> float:
    """Bytes of a step in which each image's blocks keep ``of_block``, but for those that are recomputed."""
    return fixed + images * (rest + (depth - blocks) * of_block + (of_block if blocks else 0))


@given(
    st.integers(1, 40), st.integers(1, 32), st.floats(0, 50), st.floats(0.1, 9), st.floats(0, 9), st.floats(1, 3000),
    st.booleans(),
)  # fmt: skip
def test_what_is_chosen_fits_and_no_cheaper_way_does(
    images: int, depth: int, fixed: float, of_block: float, rest: float, budget: float, may_recompute: bool
) -> None:
    may = depth if may_recompute else 0

    def peak(n: int, blocks: int) -> float:
        found = needed(fixed, of_block, rest, depth, n, blocks)
        return found if found <= budget or n < 3 else pytest.fail("more than two images were tried")

    if peak(1, 0) > budget and (not may or peak(1, may) > budget):
        with pytest.raises(UserError, match=r"train\.batch: one image takes .* GB, and there are"):
            choose(peak, images, may, budget)
        return
    found = choose(peak, images, may, budget)
    assert 0 <= found.part < max(images, 2) and 0 <= found.recompute <= may
    at_once = found.part or images
    slack = of_block * images if found.recompute else 1e-6  # a block's own passing need is spread over all
    assert needed(fixed, of_block, rest, depth, at_once, found.recompute) <= budget + slack + 1e-6
    if found.part and not found.recompute:
        assert needed(fixed, of_block, rest, depth, found.part + 1, 0) > budget - 1e-6, "as many as fit"
    if found != Fit():
        assert needed(fixed, of_block, rest, depth, images, 0) > budget - 1e-6, "nothing was needed"


def test_it_tells_what_is_missing() -> None:
    with pytest.raises(UserError, match=r"one image takes 8\.0 GB, and there are 4\.0; take a smaller backbone\.name"):
        choose(lambda images, blocks: 8 * GIB, 2, 12, 4 * GIB)


def test_a_gpu_that_has_no_room_for_one_image_recomputes() -> None:
    def peak(images: int, blocks: int) -> float:
        return float("inf") if blocks < 12 else 3.0 + 2 * images

    assert choose(peak, 1, 12, 6.0) == Fit(0, 12)
    assert choose(peak, 4, 12, 8.0) == Fit(2, 12)
    assert choose(peak, 4, 12, 11.0) == Fit(0, 12)


def test_a_method_is_tried_and_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make_method("mca").train()
    run, batch, tried = Pass(method, method, CPU, torch.float32), make_batch(6), []
    before = {n: p.clone() for n, p in method.named_parameters()}
    random = torch.get_rng_state()
    make_fit(run, batch, TrainSettings(), Ranks())
    assert run.part == 0, "what surely fits is not tried"

    def told(device: torch.device) -> float:
        recompute = execution_of(method.sam.image_encoder.blocks[0]).recompute
        tried.append((len(seen[-1]), recompute))
        return 100 + len(seen[-1]) * (40 - 5 * recompute)

    seen: list[torch.Tensor] = []
    method.register_forward_hook(lambda module, given, made: seen.append(given[0].image))
    monkeypatch.setattr(fitting, "peak_memory_mb", told)
    monkeypatch.setattr(fitting, "SURELY", 0.0)
    found = make_fit(run, batch, TrainSettings(memory_gb=(100 + 6 * 30) / 1024), Ranks())
    assert tried == [(1, 0), (2, 0), (1, 6)]
    assert found == Fit(0, 2) and execution_of(method.sam.image_encoder.blocks[5].attn).recompute == 2
    assert make_fit(run, batch, TrainSettings(memory_gb=190 / 1024, recompute="none"), Ranks()) == Fit(2, 0)
    assert run.part == 2
    assert make_fit(run, batch, TrainSettings(micro_batch=3, recompute="all"), Ranks()) == Fit(3, 6)
    assert all(p.grad is None for p in method.parameters())
    assert all(torch.equal(p, before[n]) for n, p in method.named_parameters())
    assert torch.equal(random, torch.get_rng_state())


def test_a_real_trial_run_finds_a_way_below_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "SURELY", 0.0)
    method = make_method("sam_adapter").train()
    run, batch = Pass(method, method, CPU, torch.float32), make_batch(12)
    run(batch)  # what the first step of a process takes for good

    def least() -> float:
        method.zero_grad(set_to_none=True)
        release_memory(CPU)
        reset_peak_memory(CPU)
        return peak_memory_mb(CPU)

    start = least()
    run(batch)
    whole = peak_memory_mb(CPU) - start
    found = make_fit(run, batch, TrainSettings(memory_gb=(start + whole / 2) / 1024), Ranks())
    assert 2 < found.part < 10, "half of the images at a time, about"
    start = least()
    run(batch)
    assert peak_memory_mb(CPU) - start < 0.7 * whole


def test_labellers_take_their_batch_whole() -> None:
    method = make_method("segformer").train()
    run = Pass(method, method, CPU, torch.float32)
    assert make_fit(run, make_batch(2, side=64), TrainSettings(), Ranks()) == Fit()
    with pytest.raises(UserError, match=r"train\.micro_batch: .* batch norm"):
        make_fit(run, make_batch(2, side=64), TrainSettings(micro_batch=1), Ranks())


def test_the_budget_is_what_was_given_or_the_cores_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.memory.available_cores", lambda: 4)
    assert memory_budget(3.5, CPU, 1) == 3.5 * GIB
    assert memory_budget(0, CPU, 1) == pytest.approx(0.9 * machine_memory() / 4)
    assert memory_budget(0, CPU, 9) == pytest.approx(0.9 * machine_memory())
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("orchestrator.memory.CONTAINER", limit)
    whole = machine_memory()
    limit.write_text("1048576\n")
    assert machine_memory() == 2**20
    limit.write_text("max\n")
    assert machine_memory() == whole


def test_ranks_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(Ranks):
        def gather(self, value: Fit) -> list[Fit]:  # type: ignore[override]
            return [value, replace(value, part=2, recompute=3)]

    method = make_method("decoder").train()
    run = Pass(method, method, CPU, torch.float32)
    assert make_fit(run, make_batch(4), TrainSettings(), Two(0, 2)) == Fit(2, 3)
