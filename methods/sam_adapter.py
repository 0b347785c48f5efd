"""SAM-Adapter: a prompt generator adds to the input of every encoder block; the decoder is trained.

Paper: Chen et al., SAM Fails to Segment Anything? SAM-Adapter, arXiv 2304.09148.
Code: tianrun-chen/SAM-Adapter-PyTorch, whose wiring, names and initialisation this follows exactly.

    x0     Bxhxwx C   patch tokens, before the position embedding
    F_pe   Bxhw x r   = embedding_generator(x0), r = C // scale
    F_hfc  Bxhw x r   = Conv 16x16 / 16 of the high-pass image
    P_i    Bxhw x C   = shared_mlp( GELU( lightweight_mlp_i (F_pe + F_hfc) ) )
    x      <- block_i(x + P_i), from x = x0 + position embedding
    L      = BCE + IoU (camouflage, polyps), balanced BCE (shadows)

No prompt (but the batch's, where objects are prompted for), single mask. Trained: prompt generator, mask decoder,
and SAM's ``no_mask_embed`` as in the published code. One surprise is followed by default: its ``init_embeddings``
reshapes Bxhxwx C to BxCxhw without a transpose, so that F_pe of a token is a fixed mixture of tokens and channels
(``embedding_order=per_token`` is the formula as written). Two differences are on purpose: ``no_mask_embed`` and the
positional matrix start from SAM's checkpoint (there a name mismatch leaves them random), and heads that never get a
gradient are not called trained.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from segment_anything.modeling import Sam
from torch import Tensor, nn

from methods.backbone.calls import normalise, patch_tokens, run_blocks, train_decoder, upscale
from methods.base import Batch, Method, Prediction, option
from methods.parts.adaptor import BLOCK_CHOICES, chosen_blocks, encoder_width, init_adaptor
from methods.parts.losses import counted, mask_losses


@dataclass(frozen=True)
class Options:
    scale: int = option(32, "bottleneck: r = C // scale; published: 32", at_least=1)
    output_scale: float = option(1.0, "factor on what is added to a block's input; published: 1", at_least=0)
    blocks: str = option("all", "which blocks get a prompt; published: all", BLOCK_CHOICES)
    high_pass_rate: float = option(
        0.25, "share of the spectrum that is removed (freq_nums); published: 0.25", at_least=0, at_most=1
    )
    embedding_order: str = option(
        "published",
        "what embedding_generator reads: the published code's reshape, which mixes tokens and channels, or each "
        "token's own channels as the paper's formula says",
        ("published", "per_token"),
    )
    train_no_mask_embed: bool = option(True, "train SAM's no_mask_embed too; published code: true")
    iou_weight: float = option(1.0, "weight of the IoU loss beside BCE; published: 1", at_least=0)
    mask_loss: str = option("bce_iou", "BCE + IoU, or balanced BCE (shadows)", ("bce_iou", "bbce"))


class PromptGenerator(nn.Module):
    """SAM-Adapter's adaptor. Parameter names are the published ones (``image_encoder.prompt_generator.*``)."""

    def __init__(
        self, width: int, scale: int, blocks: list[int], high_pass_rate: float, embedding_order: str = "published"
    ) -> None:
        super().__init__()
        self.embedding_order = embedding_order
        rank = max(1, width // scale)
        self.high_pass_rate = high_pass_rate
        self.blocks = blocks
        self.shared_mlp = nn.Linear(rank, width)
        self.embedding_generator = nn.Linear(width, rank)
        for i in blocks:
            self.add_module(f"lightweight_mlp_{i}", nn.Sequential(nn.Linear(rank, rank), nn.GELU()))
        self.prompt_generator = nn.ModuleDict({"proj": nn.Conv2d(3, rank, kernel_size=16, stride=16)})
        self.apply(init_adaptor)

    def features(self, x: Tensor, tokens: Tensor) -> Tensor:
        """F = F_pe + F_hfc, Bxhxwxr, of normalised images Bx3xSxS and their patch tokens Bxhxwx C."""
        high = self.prompt_generator["proj"](high_pass(x, self.high_pass_rate))
        return high.permute(0, 2, 3, 1) + self.embedding_generator(self._embedding_input(tokens))

    def _embedding_input(self, tokens: Tensor) -> Tensor:
        """Bxhxwx C. The published ``init_embeddings`` reads the memory of Bxhxwx C as if it were BxCxhw."""
        if self.embedding_order == "per_token":
            return tokens
        b, h, w, c = tokens.shape
        return tokens.reshape(b, c, h * w).transpose(1, 2).reshape(b, h, w, c)

    def prompt(self, i: int, features: Tensor) -> Tensor:
        """P_i, Bxhxwx C."""
        return self.shared_mlp(self.get_submodule(f"lightweight_mlp_{i}")(features))


def high_pass(x: Tensor, rate: float) -> Tensor:
    """|high frequencies| of Bx3xHxW: a centred box of half side int(sqrt(H W rate) // 2) is cut from the spectrum."""
    height, width = x.shape[-2:]
    half = int((height * width * rate) ** 0.5 // 2)
    with torch.autocast(x.device.type, enabled=False):
        spectrum = torch.fft.fftshift(torch.fft.fft2(x.float(), norm="forward"), dim=(-2, -1))
        rows, columns = height // 2, width // 2
        spectrum[..., rows - half : rows + half, columns - half : columns + half] = 0
        return torch.fft.ifft2(torch.fft.ifftshift(spectrum, dim=(-2, -1)), norm="forward").real.abs()


class SamAdapter(Method):
    """Prompt generator and mask decoder trained, encoder frozen."""

    title = "SAM-Adapter"
    paper = "arXiv 2304.09148"
    Options = Options

    def __init__(self, sam: Sam, options: Any = None) -> None:
        super().__init__(sam, options)
        encoder, o = self.sam.image_encoder, self.options
        train_decoder(self.sam, with_no_mask_embed=o.train_no_mask_embed)
        self.prompt_generator = PromptGenerator(
            encoder_width(encoder), o.scale, chosen_blocks(encoder, o.blocks), o.high_pass_rate, o.embedding_order
        )

    def embedding(self, batch: Batch) -> Tensor:
        """Embeddings BxDxhxw of the prompted encoder."""
        return self.encode(normalise(self.sam, batch.image, batch.valid))

    def encode(self, x: Tensor) -> Tensor:
        """Normalised images Bx3xSxS to prompted embeddings BxDxhxw."""
        tokens = patch_tokens(self.sam.image_encoder, x)
        features = self.prompt_generator.features(x, tokens)

        def add_prompt(i: int, running: Tensor) -> Tensor:
            if i not in self.prompt_generator.blocks:
                return running
            return running + self.options.output_scale * self.prompt_generator.prompt(i, features)

        return run_blocks(self.sam.image_encoder, tokens, add_prompt)

    def forward(self, batch: Batch) -> Prediction:
        """``logits`` BxPxSxS."""
        masks, _ = self.answer(self.embedding(batch), batch)
        return {"logits": upscale(masks[:, :, 0], batch.mask.shape[-1])}

    def loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        return mask_losses(self.options.mask_loss, prediction["logits"], batch.mask, counted(batch))

    def loss_weights(self) -> dict[str, float]:
        return {"iou": self.options.iou_weight}

    def load_published(self, state: dict[str, Tensor]) -> None:
        """Load a state dict of the published code, every weight of it.

        Raises:
            RuntimeError: keys or shapes do not fit this size and these options.
        """
        own = self.state_dict()
        mapped = {published_to_own(key): value for key, value in state.items()}
        # the published model has no prompt encoder; what it lacks stays as SAM has it
        self.load_state_dict({**{k: v for k, v in own.items() if "prompt_encoder" in k}, **mapped})


def published_to_own(key: str) -> str:
    """The name here of a weight in the published code."""
    if key.startswith("image_encoder.prompt_generator."):
        return key.removeprefix("image_encoder.")
    if key.startswith("no_mask_embed."):
        return f"sam.prompt_encoder.{key}"
    return f"sam.prompt_encoder.{key}" if key.startswith("pe_layer.") else f"sam.{key}"
