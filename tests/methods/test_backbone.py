"""SAM through our calls is SAM: parity with segment-anything's own forward passes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from segment_anything import sam_model_registry
from segment_anything.modeling import Sam

from methods.backbone.build import SIZES, build, fingerprint
from methods.backbone.calls import decode, encode, no_prompt, normalise
from methods.base import Batch


def test_vit_t_is_the_same_whatever_the_global_seed() -> None:
    torch.manual_seed(1)
    one = fingerprint(build("vit_t"))
    torch.manual_seed(2)
    assert fingerprint(build("vit_t")) == one


def test_building_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    build("vit_t")
    assert torch.equal(torch.rand(3), expected)


def test_normalise_is_sams_preprocess(vit_t: Sam, batch: Batch) -> None:
    image = batch.image[:1, :, :200, :256]
    padded = torch.zeros(1, 3, 256, 256, dtype=torch.uint8)
    padded[:, :, :200] = image
    ours = normalise(vit_t, padded, torch.tensor([[200, 256]]))
    torch.testing.assert_close(ours[0], vit_t.preprocess(image[0].float()))


def test_encode_is_the_encoders_forward(vit_t: Sam, batch: Batch) -> None:
    x = normalise(vit_t, batch.image)
    with torch.inference_mode():
        torch.testing.assert_close(encode(vit_t.image_encoder, x), vit_t.image_encoder(x))


@pytest.mark.parametrize("prompted", [False, True])
def test_batched_decode_is_the_decoders_loop(vit_t: Sam, batch: Batch, prompted: bool) -> None:
    boxes = torch.tensor([[10.0, 20, 200, 220]] * 4) + torch.arange(4)[:, None]
    with torch.inference_mode():
        embedding = encode(vit_t.image_encoder, normalise(vit_t, batch.image))
        if prompted:
            sparse, dense = vit_t.prompt_encoder(points=None, boxes=boxes, masks=None)
        else:
            sparse, dense = no_prompt(vit_t, 4)
        masks, iou = decode(vit_t, embedding, sparse, dense)
        for i in range(4):
            expected, expected_iou = vit_t.mask_decoder.predict_masks(
                image_embeddings=embedding[i : i + 1],
                image_pe=vit_t.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse[i : i + 1],
                dense_prompt_embeddings=dense[i : i + 1],
            )
            torch.testing.assert_close(masks[i : i + 1], expected, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(iou[i : i + 1], expected_iou, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "width", "depth", "global_blocks"),
    [("vit_b", 768, 12, (2, 5, 8, 11)), ("vit_l", 1024, 24, (5, 11, 17, 23)), ("vit_h", 1280, 32, (7, 15, 23, 31))],
)
def test_official_sizes_are_segment_anythings(
    name: str, width: int, depth: int, global_blocks: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        encoder = sam_model_registry[name]().image_encoder
    size = SIZES[name]
    found = tuple(i for i, block in enumerate(encoder.blocks) if block.window_size == 0)
    assert (size.width, size.depth, size.global_blocks) == (width, depth, global_blocks)
    assert (encoder.patch_embed.proj.out_channels, len(encoder.blocks), found) == (width, depth, global_blocks)


def test_a_checkpoint_in_the_official_layout_loads(tmp_path: Path) -> None:
    """The layout of the official files: a plain state dict of the whole Sam."""
    sam = build("vit_t")
    with torch.no_grad():
        for parameter in sam.parameters():
            parameter.add_(1)
    path = tmp_path / "sam_vit_t.pth"
    torch.save(sam.state_dict(), path)
    assert fingerprint(build("vit_t", path)) == fingerprint(sam) != fingerprint(build("vit_t"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no readable checkpoint"),
        (b"<html>not found</html>", "no readable checkpoint"),
        ({"a": torch.ones(1)}, "not a checkpoint of SAM vit_t"),
        ([1, 2], "not a checkpoint of SAM vit_t"),
    ],
)
def test_a_wrong_checkpoint_is_one_line(tmp_path: Path, content: object, says: str) -> None:
    path = tmp_path / "wrong.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match=says) as caught:
        build("vit_t", path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"x": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError):
        build("vit_t", tmp_path / "evil.pth")
    assert not (tmp_path / "owned").exists()
