"""Prompts drawn from masks: points and boxes, each image's from its own seed.

Every random number comes from the image's seed, so the prompts are the same for any number of ranks.

B = images, P = prompts an image, G = side of the grid that points are drawn on, S = side of the input.
Coordinates are (x, y) in input pixels, a pixel's middle at +0.5, as PromptEncoder wants points.
Labels are SAM's: -1 no point, 0 background, 1 foreground, 2 and 3 the corners of a box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import PromptEncoder, Sam
from torch import Tensor

from methods.backbone.calls import decode, no_prompt
from methods.backbone.decoding import decode_prompts
from methods.backbone.precision import full_precision

NO_POINT, BACKGROUND, FOREGROUND, CORNER = -1, 0, 1, 2


@dataclass(frozen=True)
class Prompts:
    """T prompt tokens for each of P masks of B images."""

    coords: Tensor  #: BxPxTx2 float
    labels: Tensor  #: BxPxT int64

    def with_click(self, coords: Tensor, labels: Tensor) -> Prompts:
        """One more point each: coords BxPx2, labels BxP."""
        return Prompts(
            torch.cat([coords[:, :, None], self.coords], dim=2), torch.cat([labels[:, :, None], self.labels], dim=2)
        )

    def take(self, count: int) -> Prompts:
        """Of the first ``count`` masks only."""
        return Prompts(self.coords[:, :count], self.labels[:, :count])


def uniforms(seeds: Tensor, prompts: int, count: int, stream: int = 1) -> Tensor:
    """BxPxcount numbers in [0, 1), each image's from its seed (B int64); a stream of numbers for each use."""
    # the loader draws the image's view from the bare seed
    streams = [np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(s), stream]))) for s in seeds.tolist()]
    return torch.from_numpy(np.stack([r.random((prompts, count), np.float32) for r in streams])).to(seeds.device)


def boxes(masks: Tensor) -> Tensor:
    """The tight boxes of masks ...xSxS: ...x4 float, x0 y0 x1 y1, from edge to edge of the outermost pixels.

    An empty mask has the box of the whole input.
    """
    side = masks.shape[-1]
    columns, rows = masks.amax(-2) > 0, masks.amax(-1) > 0
    steps = torch.arange(side, device=masks.device)

    def ends(hit: Tensor) -> tuple[Tensor, Tensor]:
        low = torch.where(hit, steps, side).amin(-1)
        high = torch.where(hit, steps + 1, 0).amax(-1)
        empty = ~hit.any(-1)
        return low.masked_fill(empty, 0), high.masked_fill(empty, side)

    (x0, x1), (y0, y1) = ends(columns), ends(rows)
    return torch.stack([x0, y0, x1, y1], dim=-1).float()


def box_prompts(box: Tensor) -> Prompts:
    """Boxes BxPx4 as PromptEncoder sees them: two corners."""
    labels = torch.tensor([CORNER, CORNER + 1], device=box.device).expand(*box.shape[:-1], 2)
    return Prompts(box.unflatten(-1, (2, 2)), labels)


def point_prompts(point: Tensor) -> Prompts:
    """Foreground points BxPx2: each a point and SAM's "no point" in place of a box."""
    labels = torch.tensor([FOREGROUND, NO_POINT], device=point.device).expand(*point.shape[:-1], 2)
    return Prompts(torch.stack([point, torch.zeros_like(point)], dim=-2), labels)


def jittered(box: Tensor, noise: Tensor, deviation: float, most: float) -> Tensor:
    """Boxes ...x4 whose corners moved by Gaussian noise: deviation in box sides, at most ``most`` pixels.

    ``noise`` is ...x4 in [0, 1). SAM (section A.2): 10 % of the side, at most 20 pixels of 1024.
    """
    sides = (box[..., 2:] - box[..., :2]).repeat_interleave(2, -1)[..., [0, 2, 1, 3]]
    gauss = torch.erfinv((2 * noise - 1).clamp(-0.999, 0.999)) * 2**0.5
    moved = box + (gauss * deviation * sides).clamp(-most, most)
    return moved.unflatten(-1, (2, 2)).sort(dim=-2).values.flatten(-2)  # corners that passed each other change places


def pick(weights: Tensor, u: Tensor, side: int) -> Tensor:
    """A pixel of ...xGxG with a chance in proportion to its weight: ...x2, the pixel's middle in input pixels.

    ``u`` (...) in [0, 1) decides which. Where all weights are 0 the answer is the first pixel.
    """
    return picks(weights, u[..., None], side).squeeze(-2)


def picks(weights: Tensor, u: Tensor, side: int) -> Tensor:
    """``pick`` for N draws of each, u ...xN: ...xNx2."""
    grid = weights.shape[-1]
    total = weights.flatten(-2).float().cumsum(-1)
    at = torch.searchsorted(total, u * total[..., -1:], right=True) % (grid * grid)
    return torch.stack([at % grid + 0.5, at // grid + 0.5], dim=-1) * (side / grid)


def inner_points(coverage: Tensor, u: Tensor, side: int) -> Tensor:
    """Of some pixels drawn from each mask the one that lies deepest in it: ...x2 in input pixels.

    coverage is ...xGxG in [0, 1]; u is ...xK, one draw each.
    """
    candidates = torch.stack([pick(coverage, u[..., k], side) for k in range(u.shape[-1])], dim=-2)  # ...xKx2
    coarse = F.avg_pool2d(coverage.flatten(0, -3)[:, None].float(), 4)
    depth = torch.zeros_like(coarse)
    for _ in range(3):
        coarse = F.avg_pool2d(coarse, 5, stride=1, padding=2)
        depth = depth + coarse
    depth = depth[:, 0].unflatten(0, coverage.shape[:-2])
    cell = (candidates * (depth.shape[-1] / side)).long()
    values = depth.flatten(-2).gather(-1, cell[..., 1] * depth.shape[-1] + cell[..., 0])
    best = values.argmax(-1)[..., None, None].expand(*values.shape[:-1], 1, 2)
    return candidates.gather(-2, best).squeeze(-2)


def where(first: Tensor, a: Prompts, b: Prompts) -> Prompts:
    """``a`` where ``first`` (BxP bool), else ``b``; both of the same T."""
    return Prompts(
        torch.where(first[..., None, None], a.coords, b.coords), torch.where(first[..., None], a.labels, b.labels)
    )


def embed(encoder: PromptEncoder, prompts: Prompts) -> Tensor:
    """Prompts to tokens BxPxTxD: what PromptEncoder makes of the same points and boxes."""
    height, width = encoder.input_image_size
    scaled = prompts.coords / torch.tensor([width, height], device=prompts.coords.device)
    with full_precision(scaled):
        positions = encoder.pe_layer._pe_encoding(scaled.float())
    kinds = torch.cat([e.weight for e in encoder.point_embeddings] + [encoder.not_a_point_embed.weight])
    none = prompts.labels == NO_POINT
    kind = kinds[torch.where(none, len(kinds) - 1, prompts.labels)]
    return positions.masked_fill(none[..., None], 0) + kind


def answer(sam: Sam, embedding: Tensor, prompts: Prompts, logits: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """What SAM says to P prompts an image: mask logits BxPx4xaxa and predicted IoU BxPx4, a = S/4.

    embedding is BxDxhxw; ``logits`` BxPxaxa are mask prompts.
    """
    if logits is None:
        dense = sam.prompt_encoder.no_mask_embed.weight[:, :, None, None].expand(len(embedding), 1, -1, 1, 1)
    else:
        dense = sam.prompt_encoder._embed_masks(logits.flatten(0, 1)[:, None]).unflatten(0, logits.shape[:2])
    return decode_prompts(sam, embedding, embed(sam.prompt_encoder, prompts), dense)


def ask(sam: Sam, embedding: Tensor, prompts: Prompts | None) -> tuple[Tensor, Tensor]:
    """``answer``, and without prompts what SAM's decoder says to none: P = 1."""
    if prompts is not None:
        return answer(sam, embedding, prompts)
    masks, iou = decode(sam, embedding, *no_prompt(sam, len(embedding)))
    return masks[:, None], iou[:, None]


def whole_image(valid: Tensor) -> Prompts:
    """A box around each whole image, of which ``valid`` (Bx2: height, width) is shown: Bx1 prompts."""
    height, width = valid.unbind(1)
    box = torch.stack([torch.zeros_like(width), torch.zeros_like(height), width, height], dim=1).float()
    return box_prompts(box[:, None] + 0.5)
