"""The prompts that training draws: where they lie, and what decides them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from methods.parts import prompts as P
from methods.parts.sampler import KINDS, PromptRule, draw_prompts

SIDE = 64
SPANS = st.tuples(st.integers(0, SIDE - 1), st.integers(1, SIDE)).map(lambda s: (s[0], min(SIDE, s[0] + s[1])))
BOXES = st.tuples(SPANS, SPANS)
RULES = st.builds(PromptRule, st.sampled_from(KINDS), st.integers(1, 5), st.floats(0, 0.3))
SEEDS = st.integers(0, 2**62)


def crosses(*boxes: tuple[tuple[int, int], tuple[int, int]]) -> Tensor:
    """1xPxSxS: in each box (columns, rows) its first column and its last row, so that the middle is outside."""
    masks = torch.zeros(1, len(boxes), SIDE, SIDE, dtype=torch.uint8)
    for mask, ((x0, x1), (y0, y1)) in zip(masks[0], boxes, strict=True):
        mask[y0:y1, x0] = 1
        mask[y1 - 1, x0:x1] = 1
    return masks


def many_seeds(count: int = 400) -> Tensor:
    return torch.arange(count) + 7


@settings(max_examples=40)
@given(st.lists(BOXES, min_size=1, max_size=4), SEEDS, st.integers(1, 5))
def test_points_lie_on_their_own_object(boxes: list, seed: int, points: int) -> None:
    masks = crosses(*boxes)
    drawn = draw_prompts(masks, torch.tensor([seed]), PromptRule("point", points))
    assert (drawn.labels == torch.tensor([P.FOREGROUND] * points + [P.NO_POINT])).all()
    for k, mask in enumerate(masks[0]):
        for x, y in drawn.coords[0, k, :points].tolist():
            assert mask[int(y), int(x)] == 1 and x % 1 == y % 1 == 0.5, "the middle of a pixel"


@settings(max_examples=40)
@given(BOXES, SEEDS, st.floats(0, 1))
def test_corners_stay_as_near_the_object_as_sams(box: tuple, seed: int, jitter: float) -> None:
    (x0, x1), (y0, y1) = box
    drawn = draw_prompts(crosses(box), torch.tensor([seed]), PromptRule("box", jitter=jitter))
    assert drawn.labels.tolist() == [[[2, 3]]]
    off = (drawn.coords[0, 0] - 0.5 - torch.tensor([[x0, y0], [x1, y1]])).abs().amax(0)
    for moved, side in zip(off.tolist(), (x1 - x0, y1 - y0), strict=True):
        assert moved <= min(20 * SIDE / 1024, 3.3 * jitter * side) + 1e-4


def test_without_jitter_a_box_is_the_objects_own() -> None:
    masks = crosses(((5, 20), (9, 30)), ((0, 64), (63, 64)))
    drawn = draw_prompts(masks, torch.tensor([3]), PromptRule("box", jitter=0.0))
    assert (drawn.coords[0].flatten(1) - 0.5).tolist() == [[5, 9, 20, 30], [0, 63, 64, 64]], "half a pixel on, as SAM's"


def test_the_noise_of_a_corner_is_gaussian_and_as_wide_as_told() -> None:
    masks = crosses(((20, 28), (10, 14))).expand(400, -1, -1, -1)
    coords = draw_prompts(masks, many_seeds(), PromptRule("box", jitter=0.05)).coords[:, 0]
    off = (coords - 0.5 - torch.tensor([[20.0, 10.0], [28.0, 14.0]])) / torch.tensor([8.0, 4.0])
    assert off.mean(0).abs().max() < 0.01
    assert ((off.std(0) - 0.05).abs() < 0.006).all(), "a share of each side, as long as no limit is near"
    assert 0.62 < (off.abs() < 0.05).float().mean() < 0.74, "68 % within one deviation"


def test_points_are_uniform_over_the_object() -> None:
    masks = crosses(((10, 14), (10, 13))).expand(600, -1, -1, -1)
    coords = draw_prompts(masks, many_seeds(600), PromptRule()).coords[:, 0, 0].long()
    found, counts = torch.unique(coords[:, 1] * SIDE + coords[:, 0], return_counts=True)
    assert len(found) == 6, "every pixel of it"
    assert counts.min() > 60 and counts.max() < 140


@settings(max_examples=40)
@given(RULES, st.lists(SEEDS, min_size=2, max_size=4, unique=True), st.integers(1, 4), st.data())
def test_an_images_seed_alone_decides(rule: PromptRule, seeds: list[int], count: int, data: st.DataObject) -> None:
    """Whatever the other images, their number and their order: so the prompts are the same for any ranks."""
    masks = torch.cat([crosses(*data.draw(st.lists(BOXES, min_size=count, max_size=count))) for _ in seeds])
    whole = draw_prompts(masks, torch.tensor(seeds), rule)
    assert whole.labels.shape == (len(seeds), count, rule.tokens) and whole.coords.shape[:3] == whole.labels.shape
    k = data.draw(st.integers(0, len(seeds) - 1))
    alone = draw_prompts(masks[k : k + 1], torch.tensor(seeds[k : k + 1]), rule)
    assert torch.equal(alone.coords[0], whole.coords[k]) and torch.equal(alone.labels[0], whole.labels[k])


@pytest.mark.parametrize("kind", KINDS)
def test_masks_and_seeds_have_prompts_of_their_own(kind: str) -> None:
    masks = crosses(((0, 60), (0, 60)), ((0, 60), (0, 60))).expand(2, -1, -1, -1)
    coords = draw_prompts(masks, torch.tensor([1, 2]), PromptRule(kind)).coords
    told = coords.flatten(2).flatten(0, 1).tolist()
    assert len({tuple(one) for one in told}) == 4


@settings(max_examples=40)
@given(BOXES, SEEDS, st.integers(1, 4))
def test_a_mixture_is_the_box_or_the_points(box: tuple, seed: int, points: int) -> None:
    """And neither of them depends on the kind that was asked for."""
    masks, seeds = crosses(box), torch.tensor([seed])
    mixed = draw_prompts(masks, seeds, PromptRule("mixed", points))
    one = draw_prompts(masks, seeds, PromptRule("box", points))
    other = draw_prompts(masks, seeds, PromptRule("point", points))
    if mixed.labels[0, 0, 0] == P.FOREGROUND:
        assert torch.equal(mixed.coords, other.coords) and torch.equal(mixed.labels, other.labels)
    else:
        assert torch.equal(mixed.coords[:, :, :2], one.coords) and torch.equal(mixed.labels[:, :, :2], one.labels)
        assert (mixed.labels[:, :, 2:] == P.NO_POINT).all()


def test_a_mixture_has_both_in_equal_parts() -> None:
    masks = crosses(((3, 40), (3, 40))).expand(400, -1, -1, -1)
    labels = draw_prompts(masks, many_seeds(), PromptRule("mixed", 3)).labels
    assert 0.42 < (labels[:, 0, 0] == P.FOREGROUND).float().mean() < 0.58


def test_an_empty_mask_is_prompted_at_the_first_pixel_or_by_everything() -> None:
    empty = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.uint8)
    assert draw_prompts(empty, torch.tensor([5]), PromptRule()).coords[0, 0, 0].tolist() == [0.5, 0.5]
    box = draw_prompts(empty, torch.tensor([5]), PromptRule("box", jitter=0.0))
    assert (box.coords.flatten() - 0.5).tolist() == [0, 0, SIDE, SIDE]
