"""The prompts that training draws, the same for every method and for any number of ranks.

Source: the protocol of the prompt-learning spec (arXiv 2403.09199 gives none, so this is inferred): a point is
uniform over the mask, a box is the mask's with Gaussian noise on its corners.

B = images, P = masks an image, S = side of the input, T = prompt tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from methods.parts import prompts as P

KINDS = ("point", "box", "mixed")


@dataclass(frozen=True)
class PromptRule:
    """What prompts look like."""

    kind: str = "point"  #: one of ``KINDS``; mixed: a box or points, by a coin
    points: int = 1  #: of a prompt by points
    jitter: float = 0.1  #: standard deviation of a box's corners, in its sides, 20 of 1024 pixels at most; SAM's: 0.1

    @property
    def tokens(self) -> int:
        """T: SAM pads points with one token that is no point, a box is two."""
        return 2 if self.kind == "box" else self.points + 1


def draw_prompts(masks: Tensor, seeds: Tensor, rule: PromptRule) -> P.Prompts:
    """One prompt for each of the masks BxPxSxS (uint8), each image's from its seed (B int64): T = ``rule.tokens``.

    In a mixture with several points, a box is filled up with SAM's token that is no point. An empty mask is
    prompted at the first pixel, or by the whole input: no loss should count it.
    """
    side = masks.shape[-1]
    u = P.uniforms(seeds, masks.shape[1], 5 + rule.points)
    if rule.kind == "point":
        return _points(masks, u[..., 5:], side)
    edges = P.jittered(P.boxes(masks), u[..., 1:5], rule.jitter, 20 * side / 1024)
    box = P.box_prompts(edges + 0.5)  # as SAM takes boxes
    if rule.kind == "box":
        return box
    return P.where(u[..., 0] < 0.5, _filled_up(box, rule.tokens), _points(masks, u[..., 5:], side))


def _points(masks: Tensor, u: Tensor, side: int) -> P.Prompts:
    """As many foreground points as u BxPxK has numbers, and the token that is no point."""
    drawn = P.picks(masks, u, side)
    labels = torch.full(drawn.shape[:-1], P.FOREGROUND, device=masks.device)
    return _filled_up(P.Prompts(drawn, labels), u.shape[-1] + 1)


def _filled_up(prompts: P.Prompts, tokens: int) -> P.Prompts:
    """To T tokens, with those that are no point."""
    missing = tokens - prompts.labels.shape[-1]
    coords = torch.nn.functional.pad(prompts.coords, (0, 0, 0, missing))
    return P.Prompts(coords, torch.nn.functional.pad(prompts.labels, (0, missing), value=P.NO_POINT))
