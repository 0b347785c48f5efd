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
    st.integers(1, 40), st.integers(1, 32), st.floats(0, 50), st.floats(1, 9), st.floats(0, 9), st.floats(1, 3000),
    st.booleans(),
)  # fmt: skip
def test_what_is_chosen_fits_and_no_cheaper_way_does(
    images: int, depth: int, fixed: float, of_block: float, rest: float, budget: float, may_recompute: bool
) -> None:
    may = depth if may_recompute else 0

    def peak(n: int, blocks: int) -> float:
        found = needed(fixed, of_block, rest, depth, n, blocks)
        return found if found <= budget or n < 3 else pytest.fail("more than two images were tried")

    found, least = choose(peak, images, may, budget)
    assert 0 <= found.part < max(images, 2) and 0 <= found.recompute <= may
    at_once = found.part or images
    if found != Fit() or least:
        assert least == min(peak(1, 0), peak(1, may)), "what is said where even that does not fit"
        assert needed(fixed, of_block, rest, depth, images, 0) > budget - 1e-6, "nothing was needed"
    if least > budget:
        assert at_once == 1 and found.recompute == may, "the smallest way"
        return
    slack = of_block * images if found.recompute else 1e-6  # a block's own passing need is spread over all
    assert needed(fixed, of_block, rest, depth, at_once, found.recompute) <= budget + slack + 1e-6
    if found.part:
        one_more = needed(fixed, of_block, rest, depth, found.part + 1, found.recompute)
        assert one_more > budget - 1e-6 or (not found.recompute and may), "as many as fit"


def test_what_was_asked_for_is_a_limit_and_a_share_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make_method("mca").train()
    run, batch = Pass(method, method, CPU, torch.float32), make_batch(3)
    monkeypatch.setattr(fitting, "SURELY", 0.0)
    monkeypatch.setattr(fitting, "peak_memory_mb", lambda device: 8 * 1024)
    message = r"train\.batch: one image takes 8\.0 GB, and there are 4\.0; take a smaller backbone\.name"
    with pytest.raises(UserError, match=message):
        make_fit(run, batch, TrainSettings(memory_gb=4), Ranks())
    monkeypatch.setattr(fitting, "memory_budget", lambda *given: 2.0 * GIB)
    assert make_fit(run, batch, TrainSettings(), Ranks()) == Fit(1, 6), "a core's share is a guess: it runs"
    monkeypatch.setattr(fitting, "machine_memory", lambda: 6.0 * GIB)
    with pytest.raises(UserError, match=r"one image takes 8\.0 GB, and there are 5\.4"):
        make_fit(run, batch, TrainSettings(), Ranks())
    monkeypatch.setattr(fitting, "reset_peak_memory", lambda device: False)
    assert make_fit(run, batch, TrainSettings(memory_gb=4), Ranks()) == Fit(), "what cannot be measured is not judged"


def test_the_optimizers_share_is_kept_free(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make_method("mca").train()
    run = Pass(method, method, CPU, torch.float32)
    monkeypatch.setattr(fitting, "SURELY", 0.0)
    monkeypatch.setattr(fitting, "peak_memory_mb", lambda device: 1000)
    one = make_batch(1)
    assert make_fit(run, one, TrainSettings(memory_gb=1.0), Ranks()) == Fit()
    with pytest.raises(UserError, match=r"one image takes 1\.0 GB, and there are 0\.5"):
        make_fit(run, one, TrainSettings(memory_gb=1.0), Ranks(), reserve=GIB / 2)


def test_a_rank_with_one_filler_is_fitted_to_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of mca, whose sample loss is not a number where nothing counts."""
    method = make_method("mca").train()
    run, seen = Pass(method, method, CPU, torch.float32), []
    method.register_forward_hook(lambda module, given, made: seen.append((len(given[0]), float(given[0].weight.sum()))))
    monkeypatch.setattr(fitting, "SURELY", 0.0)
    filler = replace(make_batch(1), weight=torch.zeros(1))
    make_fit(run, filler, TrainSettings(memory_gb=99), Ranks(), images=4)
    assert seen == [(1, 1.0), (2, 2.0)]


def test_one_ranks_error_is_everybodys() -> None:
    class Two(Ranks):
        def gather(self, value: tuple[Fit, str | None]) -> list[tuple[Fit, str | None]]:  # type: ignore[override]
            return [value, (Fit(), "train.batch: one image takes more than the GPU has")]

    method = make_method("decoder").train()
    with pytest.raises(UserError, match="more than the GPU has"):
        make_fit(Pass(method, method, CPU, torch.float32), make_batch(2), TrainSettings(), Two(0, 2))


def test_a_gpu_that_has_no_room_for_one_image_recomputes() -> None:
    def peak(images: int, blocks: int) -> float:
        return float("inf") if blocks < 12 else 3.0 + 2 * images

    assert choose(peak, 1, 12, 6.0)[0] == Fit(0, 12)
    assert choose(peak, 4, 12, 8.0)[0] == Fit(2, 12)
    assert choose(peak, 4, 12, 11.0)[0] == Fit(0, 12)


def test_where_two_images_do_not_fit_recomputing_is_tried_before_parts() -> None:
    def peak(images: int, blocks: int) -> float:
        return 2 + 0.5 * images if blocks else 5.0 if images == 1 else float("inf")

    assert choose(peak, 4, 12, 6.0)[0] == Fit(0, 12)
    assert choose(peak, 4, 0, 6.0)[0] == Fit(1)


def test_noise_between_two_measurements_refuses_nothing() -> None:
    assert choose(lambda images, blocks: 5.99 if blocks else 6.01, 1, 12, 6.0)[0].part == 0
    assert choose(lambda images, blocks: 6.01 if blocks else 5.99, 2, 12, 6.0)[1] == 5.99


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
    found = make_fit(run, batch, TrainSettings(memory_gb=(start + whole / 2) / 1024, recompute="none"), Ranks())
    assert 2 < found.part < 10, "half of the images at a time, about"
    start = least()
    run(batch)
    assert peak_memory_mb(CPU) - start < 0.85 * whole


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
        def gather(self, value: tuple[Fit, None]) -> list[tuple[Fit, None]]:  # type: ignore[override]
            return [value, (Fit(2, 3), None)]

    method = make_method("decoder").train()
    run = Pass(method, method, CPU, torch.float32)
    assert make_fit(run, make_batch(4), TrainSettings(), Two(0, 2)) == Fit(2, 3)


def test_two_images_that_might_end_the_process_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make_method("mca").train()
    run, seen = Pass(method, method, CPU, torch.float32), []
    method.register_forward_hook(lambda module, given, made: seen.append(len(given[0])))
    monkeypatch.setattr(fitting, "SURELY", 0.0)
    monkeypatch.setattr(fitting, "machine_memory", lambda: 10.0 * GIB)
    monkeypatch.setattr(fitting, "peak_memory_mb", lambda device: 6 * 1024)
    assert make_fit(run, make_batch(3), TrainSettings(memory_gb=9), Ranks()) == Fit(1)
    assert seen == [1, 1], "without and with blocks recomputed"
