"""The Prompt Learning Module and the Point Matching Module, beyond what every method must hold."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from batches import asked_for, make_batch
from segment_anything.modeling import Sam

from methods.backbone.build import build
from methods.backbone.calls import embed_image
from methods.base import Batch
from methods.parts import contour
from methods.parts import prompts as P
from methods.parts.mask_errors import focal_and_dice
from methods.prompt_learning import FOCAL_WEIGHT, Attention, Options, PromptBlock, PromptLearning


@pytest.fixture(scope="module")
def sam() -> Sam:
    """Shared: no test here may train it, and this method cannot."""
    return build("vit_t")


@pytest.fixture(scope="module")
def seen(sam: Sam) -> Batch:
    """Two images with two prompts each, their embeddings in place of them."""
    batch = asked_for(make_batch(2), 2)
    return dataclasses.replace(batch, image=batch.image[..., :0, :0], embedding=embed_image(sam, batch))


def make(sam: Sam, **options: object) -> PromptLearning:
    torch.manual_seed(3)
    return PromptLearning(sam, Options(**options))  # type: ignore[arg-type]


def moved(method: PromptLearning) -> PromptLearning:
    """Away from the zero start."""
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return method


@pytest.mark.parametrize("keys", [1, 3])
def test_attention_is_multi_head_attention(keys: int) -> None:
    """PyTorch's own, with a bias on keys that softmax does not see; keys of all prompts, or of each."""
    torch.manual_seed(0)
    ours, theirs = Attention(16, 16, 4), torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.q.weight, ours.k.weight, ours.v.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.q.bias, torch.randn(16), ours.v.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
    q, k, v = torch.randn(2, 3, 5, 16), torch.randn(2, keys, 7, 16), torch.randn(2, keys, 7, 16)
    wide = (k.expand(2, 3, 7, 16).flatten(0, 1), v.expand(2, 3, 7, 16).flatten(0, 1))
    expected, _ = theirs(q.flatten(0, 1), *wide)
    torch.testing.assert_close(ours(q, k, v).flatten(0, 1), expected, rtol=1e-4, atol=1e-5)


def test_a_block_is_the_papers_three_parts() -> None:
    """Self-attention, attention to the image with positions on the keys alone, an MLP; added to the prompt."""
    torch.manual_seed(0)
    block = PromptBlock(16, 16, Options(heads=2, mlp_width=8))
    torch.nn.init.normal_(block.mlp[-1].weight)
    tokens, image, places = torch.randn(1, 2, 3, 16), torch.randn(1, 1, 6, 16), torch.randn(6, 16)
    h = F.layer_norm(tokens + block.among(tokens, tokens, tokens), (16,))
    h = F.layer_norm(h + block.to_image(h, image + places, image), (16,))
    torch.testing.assert_close(block(tokens, image, places), tokens + block.mlp(h))


def test_only_its_own_modules_are_trained(sam: Sam) -> None:
    method = make(sam, tokens=2)
    assert {name.split(".")[0] for name in method.trained_names()} == {"blocks", "tokens", "offsets"}
    assert {name.split(".")[0] for name, _ in make(sam).named_parameters()} == {"sam", "blocks", "offsets"}


def test_a_step_moves_the_answer_and_nothing_of_sam(sam: Sam, seen: Batch) -> None:
    method = make(sam).train()
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    start, _ = method.answer(method.embedding(seen), seen)
    method.total(method.loss(method(seen), seen)).backward()
    assert not any(p.grad is not None for p in sam.parameters())
    torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 1e-2).step()
    assert all(torch.equal(value, before[name]) for name, value in sam.state_dict().items())
    assert not torch.equal(method.answer(method.embedding(seen), seen)[0], start)


@pytest.mark.parametrize("options", [{}, {"depth": 3, "width": 64, "heads": 4, "matching": "band"}])
def test_the_start_leaves_every_token_as_it_is(sam: Sam, seen: Batch, options: dict[str, object]) -> None:
    tokens = torch.randn(2, 3, 2, 128)
    assert seen.embedding is not None
    assert torch.equal(make(sam, **options).corrected(seen.embedding, tokens), tokens)
    assert not torch.equal(moved(make(sam, **options)).corrected(seen.embedding, tokens), tokens)


def test_learned_tokens_follow_the_prompts_own(sam: Sam, seen: Batch) -> None:
    method, tokens = make(sam, tokens=4), torch.randn(2, 3, 2, 128)
    assert seen.embedding is not None
    found = method.corrected(seen.embedding, tokens)
    assert found.shape == (2, 3, 6, 128)
    assert torch.equal(found[:, :, :2], tokens) and torch.equal(found[1, 2, 2:], method.tokens)
    near = method.tokens - sam.prompt_encoder.not_a_point_embed.weight
    assert 0 < near.abs().max() < 0.06, "they start as what SAM hardly minds, and unlike"


def test_the_prompt_and_the_image_both_count(sam: Sam, seen: Batch) -> None:
    method, tokens = moved(make(sam)), torch.randn(1, 2, 2, 128)
    assert seen.embedding is not None
    images = [method.corrected(seen.embedding[i : i + 1], tokens) for i in (0, 1)]
    assert not torch.allclose(*images, atol=1e-4)
    other = tokens.clone()
    other[0, 0, 0] += 1
    found = method.corrected(seen.embedding[:1], other)
    assert not torch.allclose(found[0, 0, 1], images[0][0, 0, 1], atol=1e-4), "the tokens of a prompt see each other"
    torch.testing.assert_close(found[0, 1], images[0][0, 1], rtol=1e-4, atol=1e-5)


def test_without_prompts_it_answers_a_box_around_the_image(sam: Sam, seen: Batch) -> None:
    method = moved(make(sam)).eval()
    valid = torch.tensor([[256, 130], [90, 256]])
    blank = dataclasses.replace(seen, valid=valid, prompts=None)
    boxed = dataclasses.replace(
        seen, prompts=P.box_prompts(torch.tensor([[[0.5, 0.5, 130.5, 256.5]], [[0.5, 0.5, 256.5, 90.5]]]))
    )
    with torch.inference_mode():
        assert torch.equal(method.predict(blank), method.predict(boxed))


@pytest.mark.parametrize("matching", ["offsets", "band", "none"])
def test_point_matching_is_no_part_of_inference(sam: Sam, seen: Batch, matching: str) -> None:
    """Neither its parameters nor its draws; the answers are those of the same module without it."""
    method, plain = moved(make(sam, matching=matching)), make(sam, matching="none")
    plain.blocks.load_state_dict(method.blocks.state_dict())
    for p in getattr(method, "offsets", torch.nn.Identity()).parameters():
        torch.nn.init.constant_(p, torch.nan)
    with torch.inference_mode():
        prediction = method.eval()(seen)
        assert set(prediction) == {"logits"}
        assert torch.equal(prediction["logits"], plain.eval().predict(seen))


def test_what_has_no_weight_is_not_there(sam: Sam, seen: Batch) -> None:
    for options in ({"matching": "none"}, {"matching_weight": 0.0}):
        method = make(sam, **options).train()
        assert not method.matches and not hasattr(method, "offsets")
        assert set(method.loss(method(seen), seen)) == {"focal", "dice"}
    assert not hasattr(make(sam, matching="band"), "offsets"), "reading B has no parameters"


@pytest.mark.parametrize(("features", "inputs"), [("mask", 16), ("both", 16 + 128)])
def test_offsets_are_read_from_the_features_that_were_asked_for(sam: Sam, features: str, inputs: int) -> None:
    assert make(sam, matching_features=features).offsets[0].in_features == inputs


@pytest.mark.parametrize("matching", ["offsets", "band"])
def test_each_reading_of_point_matching_teaches_the_prompt(sam: Sam, seen: Batch, matching: str) -> None:
    """The gradient of its loss alone reaches the last layer of the PLM, through SAM's frozen decoder."""
    method = make(sam, matching=matching).train()
    losses = method.loss(method(seen), seen)
    losses["matching"].backward()
    last = method.blocks[0].mlp[-1].weight.grad
    assert last is not None and last.abs().sum() > 0


def test_offsets_go_from_the_predicted_contour_to_the_true_one(sam: Sam, seen: Batch) -> None:
    """With a head that says the same everywhere, the loss is what is left of the way."""
    method, told = make(sam, matching_points=32).train(), torch.tensor([1.5, -0.5])
    with torch.no_grad():
        method.offsets[-1].weight.zero_()
        method.offsets[-1].bias.copy_(told)
        prediction = method(seen)
    u = P.uniforms(seen.seed, 2, 33, stream=2)
    points = contour.points_on(prediction["mask"] > 0, seen.mask, u[..., 1:])
    goals = contour.nearest(points, contour.true_points(seen.mask, 128, u[..., :1]))
    expected = contour.offset_errors(points, told.expand(2, 2, 32, 2), goals)
    torch.testing.assert_close(prediction["matching"], expected)
    assert expected.min() > 0.5


@pytest.mark.parametrize("matching", ["offsets", "band"])
def test_an_images_seed_alone_decides_its_points(sam: Sam, seen: Batch, matching: str) -> None:
    method = moved(make(sam, matching=matching)).train()
    with torch.no_grad():
        whole = method(seen)["matching"]
        alone = method(seen.map(lambda tensor: tensor[1:]))["matching"]
        other = method(dataclasses.replace(seen, seed=seen.seed + 1))["matching"]
    torch.testing.assert_close(alone[0], whole[1], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(other, whole, rtol=1e-3)


def test_points_are_not_drawn_by_the_prompts_numbers(sam: Sam, seen: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else where a prompt lies would say which points of the contour count."""
    told: list[torch.Tensor] = []

    def note(logits: torch.Tensor, true: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
        told.append(u)
        return logits.mean((2, 3))

    monkeypatch.setattr(contour, "band_errors", note)
    make(sam, matching="band", matching_points=30).train()(seen)
    assert told[0].shape == (2, 2, 30) and len(told[0].unique()) == 120
    assert not torch.isin(told[0], P.uniforms(seen.seed, 2, 40)).any()


def test_the_mask_loss_is_sams_on_the_masks_own_grid(sam: Sam, seen: Batch) -> None:
    method = make(sam, matching="none").train()
    prediction = method(seen)
    target = F.avg_pool2d(seen.mask.float(), 4)
    mask = prediction["mask"]
    focal, dice = focal_and_dice(mask, target, torch.full((1, 1), 1 / 64**2))
    losses = method.loss(prediction, seen)
    torch.testing.assert_close(losses["focal"], focal.mean())
    torch.testing.assert_close(losses["dice"], dice.mean())
    torch.testing.assert_close(method.total(losses), FOCAL_WEIGHT * focal.mean() + dice.mean())


def test_the_weight_of_point_matching_is_what_was_told(sam: Sam, seen: Batch) -> None:
    method = make(sam, matching="band", matching_weight=0.7).train()
    losses = method.loss(method(seen), seen)
    expected = 20 * losses["focal"] + losses["dice"] + 0.7 * losses["matching"]
    torch.testing.assert_close(method.total(losses), expected)


@pytest.mark.parametrize("matching", ["offsets", "band"])
def test_an_empty_mask_teaches_nothing(sam: Sam, seen: Batch, matching: str) -> None:
    """The mean is over the masks that are there; without any it is 0."""
    method = moved(make(sam, matching=matching)).train()
    mask = seen.mask.clone()
    mask[0, 1] = 0
    with torch.no_grad():
        prediction = method(seen)
        one = method.loss(prediction, dataclasses.replace(seen, mask=mask))
        first = {k: v[:1, :1] if v.ndim > 1 else v for k, v in prediction.items()}
        second = {k: v[1:] for k, v in prediction.items()}
        a = method.loss(first, dataclasses.replace(seen.map(lambda t: t[:1]), mask=mask[:1, :1]))
        b = method.loss(second, seen.map(lambda t: t[1:]))
        none = method.loss(prediction, dataclasses.replace(seen, mask=torch.zeros_like(mask)))
    for name, value in one.items():
        torch.testing.assert_close(value, (a[name] + b[name] * seen.mask.shape[1]) / (1 + seen.mask.shape[1]))
        assert none[name] == 0


def test_heads_must_divide_the_width(sam: Sam) -> None:
    with pytest.raises(ValueError, match=r"method.width=60: no multiple of method.heads=8"):
        make(sam, width=60)
