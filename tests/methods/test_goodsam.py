"""GoodSAM's parts: windows round the seam, fusion, boundaries, and which gradient goes where."""

from __future__ import annotations

import pytest
import torch
from batches import make_batch, make_method, with_offline
from hypothesis import given
from hypothesis import strategies as st

from methods.goodsam import GoodSam, _packed, _unpacked
from methods.goodsam.boundary import class_edges, consistency, dilated, edge_errors, refined, soft_edges
from methods.goodsam.fusion import NO_INSTANCE, Rule, fuse, instance_map
from methods.goodsam.windows import Windows, shared

sizes = st.builds(
    Windows.of,
    st.integers(4, 20), st.integers(20, 60), st.floats(0.3, 1), st.floats(0.3, 2), st.floats(0.2, 1), st.booleans(),
)  # fmt: skip


def logits_of(labels: torch.Tensor, classes: int, confidence: float = 5.0) -> torch.Tensor:
    """BxNxhxw classes as logits BxNxCxhxw."""
    return confidence * torch.nn.functional.one_hot(labels, classes).movedim(-1, 2).float()


@given(sizes)
def test_windows_cover_a_panorama_all_round(windows: Windows) -> None:
    x = torch.arange(windows.height * windows.width, dtype=torch.float32).view(1, 1, windows.height, windows.width)
    cut = windows.crop(x)
    assert cut.shape == (1, len(windows), 1, windows.h, windows.w)
    assert len(windows.lefts) * windows.w >= windows.width, "no column is left out"
    seen = windows.seen(x.device)
    assert seen.any(0).all() and (len(windows.tops) == 1 or seen.all())
    assert torch.equal(windows.stitch(cut)[0, 0][seen], x[0, 0][seen]), "what was cut is put together again"
    assert not windows.stitch(cut)[0, 0][~seen].any()


@given(sizes)
def test_neighbours_show_the_same_place_where_they_overlap(windows: Windows) -> None:
    x = torch.arange(windows.height * windows.width, dtype=torch.float32).view(1, 1, windows.height, windows.width)
    cut = windows.crop(x)
    for at in windows.overlaps:
        first, second = shared(cut, at)
        assert first.numel() and torch.equal(first, second)


def test_the_last_window_goes_round_the_seam() -> None:
    windows = Windows.of(100, 512, 1.0, 1.0, 0.5, rows=False)
    assert windows.lefts[-1] + windows.w > 512 and len(windows.lefts) == 11 and windows.tops == (0,)
    assert (10, 0) in [pair for at in windows.overlaps for pair in zip(at.first, at.second, strict=True)]
    plus = Windows.of(100, 512, 0.75, 1.0, 0.5, rows=True)
    assert plus.tops == (0, 25), "two directions"
    assert any(at.in_first[0] > 0 for at in plus.overlaps) and any(at.in_first[1] > 0 for at in plus.overlaps)


@pytest.mark.parametrize("rule", [Rule(0.6), Rule(0.6, weighted=True, by_level=True)])
def test_a_window_of_one_label_gives_an_ensemble_equal_to_it(rule: Rule) -> None:
    labels = torch.full((1, 2, 8, 8), 3)
    instances = torch.randint(0, 5, (1, 2, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    fused = fuse(logits_of(labels, 5), instances, rule)
    assert torch.equal(fused.ensemble, labels) and fused.sure.all()


def test_an_instance_of_two_halves_has_no_weight() -> None:
    labels = torch.zeros(1, 1, 4, 8, dtype=torch.int64)
    labels[..., 4:] = 1
    instances = torch.zeros(1, 1, 4, 8, dtype=torch.uint8)
    fused = fuse(logits_of(labels, 2), instances, Rule(0.6))
    assert not fused.sure.any() and (fused.confident == 255).all() and fused.share[0, 0, 0] == 0.5
    labels[..., 4] = 0  # five of eight columns
    fused = fuse(logits_of(labels, 2), instances, Rule(0.6))
    assert fused.sure.all() and (fused.ensemble == 0).all(), "the majority names all of it"


def test_what_lies_in_no_instance_keeps_its_class_and_is_unsure() -> None:
    labels = torch.tensor([[[[0, 1], [1, 1]]]])
    instances = torch.tensor([[[[NO_INSTANCE, 7], [7, NO_INSTANCE]]]], dtype=torch.uint8)
    fused = fuse(logits_of(labels, 2), instances, Rule(0.5))
    assert torch.equal(fused.ensemble, labels)
    assert fused.sure.tolist() == [[[[False, True], [True, False]]]]


def test_confidence_may_outweigh_the_majority() -> None:
    logits = torch.zeros(1, 1, 2, 1, 5)
    logits[:, :, 0, :, :3] = 0.1  # three pixels that hardly are the first class
    logits[:, :, 1, :, 3:] = 9.0  # two that surely are the second
    instances = torch.zeros(1, 1, 1, 5, dtype=torch.uint8)
    assert (fuse(logits, instances, Rule(0.5)).ensemble == 0).all()
    weighted = fuse(logits, instances, Rule(0.5, weighted=True))
    assert (weighted.ensemble == 1).all() and 0.5 < weighted.share[0, 0, 0] < 0.6


def test_an_instance_is_held_against_its_own_area_level() -> None:
    """Two small ones, half and fully of one class: the mean of their level parts them, whatever theta says."""
    labels = torch.zeros(1, 1, 10, 10, dtype=torch.int64)
    instances = torch.full((1, 1, 10, 10), 2, dtype=torch.uint8)
    instances[0, 0, 0, :2], instances[0, 0, 1, :2] = 0, 1
    labels[0, 0, 0, 1] = 1
    labels[0, 0, 5:, :] = 1
    rule = Rule(0.9, by_level=True, cuts=(0.5, 0.9))
    fused = fuse(logits_of(labels, 2), instances, rule)
    assert not fused.sure[0, 0, 0, :2].any() and fused.sure[0, 0, 1, :2].all()
    assert fused.sure[0, 0, 5:].all(), "the only one of its level is its mean"
    assert not fuse(logits_of(labels, 2), instances, Rule(0.9)).sure[0, 0, 5:].any()


def test_small_masks_lie_on_large_ones() -> None:
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :3, :3], masks[1, 1, 1] = True, True
    found = instance_map(masks)
    assert found[1, 1] == 1 and found[0, 0] == 0 and found[3, 3] == NO_INSTANCE


def test_an_instance_across_the_seam_is_one_instance() -> None:
    """In the window that goes round it, where a panorama cut at the seam has two halves."""
    method = make_method("goodsam", {"points": 8, "window_aspect": 1.0})
    assert isinstance(method, GoodSam)
    windows = method.windows(64, 256)
    assert windows.lefts[-1] == 224 and windows.w == 64
    image = torch.full((3, 64, 256), 40, dtype=torch.uint8)
    image[:, 20:44, 236:], image[:, 20:44, :20] = 220, 220
    inside = method.offline(64, 256).make(image)["instances"][len(windows) - 1][22:42, 14:50]
    numbers, counts = inside.unique(return_counts=True)
    assert counts.max() > 0.9 * inside.numel() and numbers[counts.argmax()] != NO_INSTANCE


def test_edges_that_the_assistant_does_not_see_go() -> None:
    sam = torch.zeros(1, 1, 9, 12, dtype=torch.bool)
    sam[..., 4], sam[..., 10] = True, True
    labels = torch.zeros(1, 1, 9, 12, dtype=torch.int64)
    labels[..., 6:] = 1
    kept = refined(sam, labels, torch.zeros_like(labels), tolerance=1)
    assert kept[..., 4].all() and not kept[..., 10].any(), "5 and 6 are its edge; 4 is within a pixel of it"
    assert not refined(sam, labels, labels, tolerance=0).any()
    assert class_edges(labels)[0, 0, 0].nonzero().flatten().tolist() == [5, 6]
    assert dilated(sam, 1).sum() == 3 * 2 * 9


@pytest.mark.parametrize("kind", ["bce", "dice"])
def test_the_boundary_loss_is_least_on_the_boundary(kind: str) -> None:
    labels = torch.zeros(1, 1, 8, 8, dtype=torch.int64)
    labels[..., 4:] = 1
    target = class_edges(labels)

    def error(shift: int) -> float:
        probabilities = logits_of(labels.roll(shift, -1), 2, 8.0).softmax(2)
        return float(edge_errors(kind, soft_edges(probabilities)[:, :, 1:-1], target[:, :, 1:-1]))

    assert error(0) < error(1) and error(0) < error(2)


@pytest.mark.parametrize("kind", ["kl", "mse"])
def test_what_agrees_is_consistent(kind: str) -> None:
    a, b = torch.randn(2, 1, 3, 4, 5, 5, generator=torch.Generator().manual_seed(1))
    assert consistency(kind, a, a).abs().max() < 1e-6
    torch.testing.assert_close(consistency(kind, a, b), consistency(kind, b, a))
    assert consistency(kind, a, b).min() > 0


@given(st.integers(1, 20))
def test_edges_are_stored_as_bits(width: int) -> None:
    edges = torch.rand(2, 3, width) > 0.5
    assert torch.equal(_unpacked(_packed(edges), width), edges)


ONLY = {"w_cc": 0.0, "w_t_ta": 0.0, "w_t_s": 0.0, "w_ta_s": 0.0, "w_bd": 0.0}


@pytest.mark.parametrize("loss", ["w_t_s", "w_ta_s", "w_bd"])
def test_the_students_losses_reach_no_target(loss: str) -> None:
    method = make_method("goodsam", {**ONLY, loss: 1.0, "w_cc": 1.0}).train()
    batch = with_offline(make_batch(2, side=64), method)
    losses = method.loss(method(batch), batch)
    (of_student,) = [value for name, value in losses.items() if name != "l_cc"]
    of_student.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.student.parameters())
    assert all(p.grad is None or not p.grad.any() for p in method.assistant.parameters())


@pytest.mark.parametrize("loss", ["w_cc", "w_t_ta"])
def test_the_assistants_losses_are_its_own(loss: str) -> None:
    method = make_method("goodsam", {**ONLY, loss: 1.0, "w_ta_s": 1.0}).train()
    batch = with_offline(make_batch(2, side=64), method)
    losses = method.loss(method(batch), batch)
    losses["l_cc" if loss == "w_cc" else "l_ce_t_ta"].backward()
    assert all(p.grad is None or not p.grad.any() for p in method.student.parameters())
    assert any(p.grad is not None and p.grad.any() for p in method.assistant.parameters())
    assert all(p.grad is None for p in method.first_assistant.parameters()), "what it is chosen by stays as it was"


def test_an_assistant_without_losses_is_not_trained() -> None:
    method = make_method("goodsam", {"w_cc": 0.0, "w_t_ta": 0.0})
    assert all(name.startswith("student.") for name in method.trained_names())


def test_plusplus_slides_in_two_directions() -> None:
    method = make_method("goodsam", {"variant": "plusplus"})
    assert isinstance(method, GoodSam)
    assert len(method.windows(400, 2048).tops) == 2 and method.windows(400, 2048).h == 300
    with pytest.raises(ValueError, match="slide vertically, too"):
        make_method("goodsam", {"variant": "plusplus", "window": 1.0})


def test_what_would_learn_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="the student would learn nothing"):
        make_method("goodsam", {"w_t_s": 0.0, "w_ta_s": 0.0, "w_bd": 0.0})
    with pytest.raises(ValueError, match=r"method.small=0.9: above method.large=0.5"):
        make_method("goodsam", {"small": 0.9, "large": 0.5})
