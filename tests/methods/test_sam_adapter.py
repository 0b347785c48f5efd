"""SAM-Adapter against the published wiring, written out step by step, and its published weight names."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor

from methods.backbone.build import build
from methods.backbone.calls import encode, normalise
from methods.base import Batch
from methods.sam_adapter import Options, SamAdapter, high_pass

WIDTH, DEPTH, RANK = 192, 6, 6


def published_state(seed: int = 0) -> dict[str, Tensor]:
    """A state dict as the published code saves it, with large random adaptor weights."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    sam = build("vit_t")
    state = {f"image_encoder.{k}": v for k, v in sam.image_encoder.state_dict().items()}
    state |= {f"mask_decoder.{k}": v for k, v in sam.mask_decoder.state_dict().items()}
    prefix = "image_encoder.prompt_generator"
    state |= {f"{prefix}.shared_mlp.weight": draw(WIDTH, RANK), f"{prefix}.shared_mlp.bias": draw(WIDTH)}
    state |= {
        f"{prefix}.embedding_generator.weight": draw(RANK, WIDTH),
        f"{prefix}.embedding_generator.bias": draw(RANK),
        f"{prefix}.prompt_generator.proj.weight": draw(RANK, 3, 16, 16),
        f"{prefix}.prompt_generator.proj.bias": draw(RANK),
    }
    for i in range(DEPTH):
        state[f"{prefix}.lightweight_mlp_{i}.0.weight"] = draw(RANK, RANK)
        state[f"{prefix}.lightweight_mlp_{i}.0.bias"] = draw(RANK)
    state["no_mask_embed.weight"] = draw(1, 128)
    state["pe_layer.positional_encoding_gaussian_matrix"] = draw(2, 64)
    return state


def reference_high_pass(x: Tensor, rate: float) -> Tensor:
    """Frequencies by their own numbers, no shifting: cut those in [-half, half)."""
    height, width = x.shape[-2:]
    half = int((height * width * rate) ** 0.5 // 2)
    rows, columns = torch.fft.fftfreq(height) * height, torch.fft.fftfreq(width) * width
    low = ((rows >= -half) & (rows < half))[:, None] & ((columns >= -half) & (columns < half))[None]
    return torch.fft.ifft2(torch.fft.fft2(x) * ~low).real.abs()


def reference_embedding(state: dict[str, Tensor], sam: Sam, x: Tensor) -> Tensor:
    """P_i from explicit matrix products, token by token, in the published order."""
    p = {k.removeprefix("image_encoder.prompt_generator."): v for k, v in state.items()}
    encoder = sam.image_encoder
    tokens = encoder.patch_embed(x)
    b, h, w, c = tokens.shape
    mixed = tokens.contiguous().view(b, c, h * w).permute(0, 2, 1)
    f_pe = mixed @ p["embedding_generator.weight"].T + p["embedding_generator.bias"]
    patches = F.unfold(reference_high_pass(x, 0.25), 16, stride=16).permute(0, 2, 1)
    kernel = p["prompt_generator.proj.weight"].flatten(1)
    f_hfc = patches @ kernel.T + p["prompt_generator.proj.bias"]
    running = tokens + encoder.pos_embed
    for i, block in enumerate(encoder.blocks):
        hidden = F.gelu((f_pe + f_hfc) @ p[f"lightweight_mlp_{i}.0.weight"].T + p[f"lightweight_mlp_{i}.0.bias"])
        prompt = hidden @ p["shared_mlp.weight"].T + p["shared_mlp.bias"]
        running = block(running + prompt.view(b, h, w, c))
    return encoder.neck(running.permute(0, 3, 1, 2))


def test_wiring_is_the_published_one(batch: Batch, vit_t: Sam) -> None:
    state = published_state()
    method = SamAdapter(build("vit_t"))
    method.load_published(state)
    x = normalise(vit_t, batch.image)
    with torch.inference_mode():
        expected = reference_embedding(state, vit_t, x)
        torch.testing.assert_close(method.encode(x), expected, rtol=1e-3, atol=1e-3)
        plain = encode(vit_t.image_encoder, x)
    assert (expected - plain).abs().max() > 0.1, "the prompts must matter for this test to mean anything"


def test_published_weights_all_arrive() -> None:
    state = published_state()
    method = SamAdapter(build("vit_t"))
    method.load_published(state)
    values = [v for v in method.state_dict().values()]
    for key, value in state.items():
        assert any(v.shape == value.shape and torch.equal(v, value) for v in values), key


def test_a_published_state_of_another_size_is_refused() -> None:
    state = published_state()
    state["image_encoder.prompt_generator.shared_mlp.weight"] = torch.zeros(768, 24)
    with pytest.raises(RuntimeError, match="shared_mlp"):
        SamAdapter(build("vit_t")).load_published(state)
    state.pop("image_encoder.prompt_generator.shared_mlp.weight")
    with pytest.raises(RuntimeError, match="shared_mlp"):
        SamAdapter(build("vit_t")).load_published(state)


def test_per_token_order_is_another_function(batch: Batch, vit_t: Sam) -> None:
    torch.manual_seed(0)
    published = SamAdapter(build("vit_t"))
    torch.manual_seed(0)
    per_token = SamAdapter(build("vit_t"), Options(embedding_order="per_token"))
    x = normalise(vit_t, batch.image)
    with torch.inference_mode():
        assert not torch.allclose(published.encode(x), per_token.encode(x), atol=1e-4)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5])
def test_high_pass(rate: float) -> None:
    x = torch.randn(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(high_pass(x, rate), reference_high_pass(x, rate), rtol=1e-4, atol=1e-5)


def test_high_pass_removes_a_flat_image() -> None:
    assert high_pass(torch.full((1, 3, 256, 256), 3.0), 0.25).abs().max() < 1e-5


@pytest.mark.parametrize(("name", "count"), [("vit_b", 63_312), ("vit_l", 116_544), ("vit_h", 186_960)])
def test_adaptor_sizes_are_the_published_ones(name: str, count: int) -> None:
    with torch.device("meta"):
        method = SamAdapter(_meta_sam(name))
    assert sum(p.numel() for p in method.prompt_generator.parameters()) == count


def _meta_sam(name: str) -> Sam:
    from segment_anything import sam_model_registry

    return sam_model_registry[name]()
