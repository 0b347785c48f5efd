"""Contours of masks, points on them, and the losses between them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from torch import Tensor

from methods.parts import contour as C

MASKS = arrays(np.bool_, st.tuples(st.integers(1, 8), st.integers(1, 8)))
SIDE = 32


def of(mask: np.ndarray) -> Tensor:
    return torch.from_numpy(mask.astype(np.uint8))[None, None]


def square(low: int, high: int, side: int = SIDE) -> Tensor:
    """1x1xSxS, from ``low`` to ``high`` in both directions."""
    mask = torch.zeros(1, 1, side, side, dtype=torch.uint8)
    mask[..., low:high, low:high] = 1
    return mask


def draws(count: int) -> Tensor:
    """1x1xN, from all of [0, 1)."""
    return (torch.arange(count)[None, None] + 0.5) / count


def cells(points: Tensor, side: int) -> list[tuple[int, int]]:
    """(x, y) of the cells of a grid that points of one mask lie in."""
    return [(int(x), int(y)) for x, y in (points[0, 0] * side).tolist()]


@given(MASKS)
def test_edges_touch_what_is_outside_but_no_border(mask: np.ndarray) -> None:
    found = C.edges(of(mask))[0, 0].bool().numpy()
    inner = ndimage.binary_erosion(mask, np.ones((3, 3)), border_value=1)
    assert np.array_equal(found, mask & ~inner)


@settings(max_examples=30)
@given(arrays(np.bool_, (4, 5)), arrays(np.bool_, (4, 5)))
def test_edges_of_one_mask_do_not_depend_on_another(a: np.ndarray, b: np.ndarray) -> None:
    both = torch.cat([of(a), of(b)], dim=1)
    assert torch.equal(C.edges(both), torch.cat([C.edges(of(a)), C.edges(of(b))], dim=1))


@settings(max_examples=50)
@given(arrays(np.bool_, (8, 8)), st.lists(st.floats(0, 0.999), min_size=3, max_size=3))
def test_points_lie_on_the_predicted_contour(mask: np.ndarray, u: list[float]) -> None:
    edge = C.edges(of(mask))[0, 0]
    if not edge.any():
        return
    points = C.points_on(of(mask).bool(), square(4, 9), torch.tensor([[u]]))
    assert all(edge[y, x] for x, y in cells(points, 8))
    assert ((points * 8) % 1 == 0.5).all(), "shares of the side, at the middles of cells"


@pytest.mark.parametrize("nothing", [torch.zeros, torch.ones], ids=["nothing", "all of it"])
def test_where_no_contour_is_predicted_the_true_one_stands_in(nothing: type) -> None:
    predicted = torch.cat([nothing(1, 1, 8, 8), square(1, 3, 8)], dim=1).bool()
    points = C.points_on(predicted, square(8, 20).expand(-1, 2, -1, -1), draws(40).expand(-1, 2, -1))
    true = {(x, y) for x in (2, 3, 4) for y in (2, 3, 4)} - {(3, 3)}
    assert set(cells(points, 8)) == true
    assert set(cells(points[:, 1:], 8)) == {(1, 1), (1, 2), (2, 1), (2, 2)}, "each mask for itself"


def test_true_points_go_evenly_along_the_contour() -> None:
    points = C.true_points(square(8, 16), 56, torch.tensor([[[0.4]]]))
    at = cells(points, SIDE)
    assert len(set(at)) == 28 and all(at.count(one) == 2 for one in at)
    assert {min(x, y, 23 - x, 23 - y) for x, y in at} == {8}


def test_another_start_gives_other_points() -> None:
    first, second = (C.true_points(square(8, 16), 5, torch.tensor([[[u]]])) for u in (0.0, 0.6))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("count", [20, 256])
def test_the_last_draw_that_there_is_stays_on_the_contour(count: int) -> None:
    at = cells(C.true_points(square(8, 16), count, torch.tensor([[[1 - 2**-24]]])), SIDE)
    assert min(at) >= (8, 8)


def test_an_object_that_fills_the_input_has_goals_all_over_it() -> None:
    """It has no contour, and nothing may draw the points of a prediction into a corner."""
    true = torch.cat([square(0, SIDE), square(8, 16)], dim=1)
    goals = C.true_points(true, 64, torch.tensor([[[0.5], [0.5]]]))
    assert goals[0, 0].amin() < 0.1 and goals[0, 0].amax() > 0.9
    assert min(cells(goals[:, 1:], SIDE)) >= (8, 8), "the other has its contour's"
    points = C.points_on(torch.zeros(1, 1, 8, 8).bool(), true[:, :1], draws(40))
    assert points.amin() < 0.1 and points.amax() > 0.9


def test_an_object_between_two_cells_is_not_lost() -> None:
    true = torch.zeros(1, 1, SIDE, SIDE)
    true[..., 18:20, 21:23] = 1
    assert set(cells(C.points_on(torch.zeros(1, 1, 8, 8).bool(), true, draws(9)), 8)) == {(5, 4)}


@given(st.integers(1, 30), st.integers(1, 20), st.integers(0, 2**31))
def test_the_nearest_goal_is_found(goals: int, points: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    there = torch.rand(2, 3, goals, 2, generator=generator)
    asked = torch.rand(2, 3, points, 2, generator=generator)
    found = C.nearest(asked, there)
    best = (asked[:, :, :, None] - there[:, :, None]).norm(dim=-1).amin(-1)
    torch.testing.assert_close((found - asked).norm(dim=-1), best, rtol=1e-4, atol=1e-3)
    assert (found[:, :, :, None] == there[:, :, None]).all(-1).any(-1).all(), "of the same mask's goals"


def test_an_offset_is_counted_in_cells_of_the_embedding() -> None:
    points, goals = torch.tensor([[[[0.5, 0.5]]]]), torch.tensor([[[[0.5 + 3 / 64, 0.5 - 2 / 64]]]])
    right = torch.tensor([[[[3.0, -2.0]]]])
    assert C.offset_errors(points, right, goals).item() == pytest.approx(0, abs=1e-6)
    assert C.offset_errors(points, 0 * right, goals).item() == pytest.approx(3 - 0.5 + 2 - 0.5, abs=1e-4)
    assert C.offset_errors(points, right + 0.5, goals).item() == pytest.approx(2 * 0.125, abs=1e-4)


def test_offset_errors_are_means_over_a_masks_own_points() -> None:
    points = torch.zeros(1, 2, 4, 2)
    offsets = torch.zeros(1, 2, 4, 2)
    offsets[0, 1, 0, 0] = 4.5
    assert C.offset_errors(points, offsets, points)[0].tolist() == [0, 1]


def test_the_loss_near_a_contour_sees_nothing_else() -> None:
    """Far from the contour logits may be what they like; near it they may not."""
    true, u = square(8, 24), draws(200)
    grid = F.max_pool2d(true.float(), 2)  # 16x16, the object from 4 to 12
    good = 20 * (2 * grid - 1)
    far, near = good.clone(), good.clone()
    far[..., 7:9, 7:9] = -20  # four cells inside
    far[..., :1, :] = 20
    near[..., 4:5, :] = -20
    best = C.band_errors(good, true, u)
    assert best.shape == (1, 1) and best.item() < 0.01
    assert torch.equal(C.band_errors(far, true, u), best)
    assert C.band_errors(near, true, u).item() > 1


def test_the_loss_near_a_contour_is_bce_and_dice() -> None:
    """Of half of the pixels' probability everywhere: ln 2, and 1 - (w + 1)/(N/2 + w + 1) for w cells inside."""
    true, u = square(8, 24), draws(500)
    found = C.band_errors(torch.zeros(1, 1, 16, 16), true, u).item()
    edge = C.edges(F.max_pool2d(true.float(), 2)).float()
    band = F.max_pool2d(edge, 5, 1, 2)
    inside = 500 * float((band * F.max_pool2d(true.float(), 2)).sum() / band.sum())
    assert found == pytest.approx(math.log(2) + 1 - (inside + 1) / (250 + inside + 1), abs=0.01)


@pytest.mark.parametrize("true", [square(0, SIDE), square(8, 9), square(0, 0)], ids=["everything", "a pixel", "none"])
def test_without_a_contour_all_losses_are_numbers(true: Tensor) -> None:
    logits = torch.randn(1, 1, 16, 16, requires_grad=True)
    C.band_errors(logits, true, draws(20)).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    points = C.points_on(logits > 9, true, draws(20))
    assert ((points > 0) & (points < 1)).all()


def plane(side: int, height: float = 1.0) -> Tensor:
    """A map whose value is x + 10 y in shares of the side: bilinear reading is exact inside."""
    steps = (torch.arange(side) + 0.5) / side
    return height * (steps[None, :] + 10 * steps[:, None])


@given(st.lists(st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)), min_size=1, max_size=5))
def test_maps_are_read_where_the_points_say(places: list[tuple[float, float]]) -> None:
    points = torch.tensor(places)[None, None].expand(2, 3, -1, -1)
    expected = points[..., 0] + 10 * points[..., 1]
    maps = torch.stack([torch.stack([plane(8), plane(8, 2.0)]), torch.stack([plane(8, 3.0), plane(8, 4.0)])])
    found = C.sampled(maps, points)
    torch.testing.assert_close(found[0, 1, :, 1], 2 * expected[0, 1])
    torch.testing.assert_close(found[1, 2, :, 0], 3 * expected[1, 2])
    own = C.sampled_own(torch.stack([plane(8, float(k)) for k in range(6)]).view(2, 3, 8, 8), points)
    torch.testing.assert_close(own, expected * torch.arange(6).view(2, 3, 1))
