"""What every registered method must hold: run over all of them, also those that are yet to be written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from batches import as_in_training, asked_for, make_batch
from batches import make_method as make
from ddp import gradients, run_ranks
from ports import free_port

from methods import registry
from methods.backbone.build import build
from methods.backbone.calls import embed_image_and_blocks, encode, normalise, upscale
from methods.base import Batch, Method
from methods.parts import prompts as P
from methods.parts.labeller import Labeller
from methods.parts.prompts import ask
from orchestrator import checkpoint
from orchestrator.config import make_settings
from orchestrator.step import Pass
from orchestrator.storage import Storage

METHODS = registry.names()
TRAINED = [n for n in METHODS if registry.load(n).trains]
NEUTRAL = [n for n in METHODS if registry.load(n).neutral]
#: Further settings of a method that must hold as the defaults do.
VARIANTS: dict[str, list[dict[str, object]]] = {
    "mca": [
        {"tc_input": "adapter_features", "adaptor_order": "tc_then_sc", "token_target": "sum", "tokens": 40},
        {"blocks": "global", "contrast_blocks": "last_half", "skip_same_object": True, "detach_tokens": False},
        {"sample_negatives": "local", "token_weight": 0.0},
        {"sample_weight": 0.0, "contrast_blocks": "all"},
    ],
    "sam_adapter": [{"blocks": "last_half", "scale": 8, "mask_loss": "bbce", "train_no_mask_embed": False}],
    "promptable": [{"runners_up": 0.5, "iou_weight": 2.0, "box_share": 0.9, "clicks": 0}],
    "prompt_learning": [
        {"tokens": 3, "depth": 2, "width": 64, "matching": "band", "augment": "none"},
        {"matching_features": "mask", "matching_points": 20, "mlp_width": 64, "heads": 4},
        {"matching": "none"},
    ],
    "segformer": [{"size": "b0", "augment": "none"}],
    "goodsam": [
        {"variant": "plusplus", "window": 0.6, "stride": 0.75, "boundary_loss": "dice", "consistency": "mse"},
        {"w_cc": 0.0, "w_t_ta": 0.0, "weigh": "confidence", "levels": "mean"},
    ],
}
#: Softmax is blind to a bias of an attention's keys: its gradient is 0, or rounding alone.
UNSEEN = ".k_proj.bias"
CASES = [(name, {}) for name in METHODS] + [(n, o) for n, many in VARIANTS.items() for o in many]
TRAINED_CASES = [case for case in CASES if case[0] in TRAINED]


def moved_from_its_start(method: Method) -> Method:
    """A zero start hides the gradients of all that lies before the zeros."""
    if method.neutral:
        with torch.no_grad():
            for parameter in method.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter) * 0.02)
    return method


def ids(case: tuple[str, dict[str, object]]) -> str:
    return "-".join([case[0], *map(str, case[1].values())])


@pytest.mark.parametrize("name", METHODS)
def test_says_what_it_is(name: str) -> None:
    method = registry.load(name)
    assert method.title and method.paper
    assert registry.load(name).__module__ == f"methods.{name}" or f"methods.{name}." in method.__module__
    for field in dataclasses.fields(method.Options):
        assert field.metadata.get("help"), f"{name}.{field.name} has no help text"


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_trains_exactly_what_it_names(case: tuple[str, dict[str, object]], batch: Batch) -> None:
    method = moved_from_its_start(make(*case))
    before = {n: p.detach().clone() for n, p in method.named_parameters()}
    named = set(method.trained_names())
    assert bool(named) == method.trains
    method.train()
    batch = as_in_training(batch, method)
    losses = method.loss(method(batch), batch)
    assert all(torch.isfinite(v) for v in losses.values()), losses
    if named:
        method.total(losses).backward()
        for name, parameter in method.named_parameters():
            if name in named:
                assert parameter.grad is not None, f"{name} is no part of the loss"
                idle = name.startswith(method.sometimes_idle) or name.endswith(UNSEEN)
                assert idle or parameter.grad.abs().sum() > 0, f"{name} gets no gradient"
                assert parameter.grad.isfinite().all(), f"{name}: gradient is not finite"
            else:
                assert parameter.grad is None, f"{name} is frozen and gets a gradient"
        torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 1e-3).step()
    changed = {n for n, p in method.named_parameters() if not torch.equal(p, before[n])}
    assert changed <= named
    assert all(n.endswith(UNSEEN) for n in named - changed)


def overlap(method: Method, batch: Batch) -> float:
    """IoU of the foreground of all that a batch holds."""
    was_training = method.training
    with torch.inference_mode():
        logits = method.eval().predict(batch)
    method.train(was_training)
    predicted = logits.argmax(1, keepdim=True) == 1 if isinstance(method, Labeller) else logits > 0
    truth = batch.mask.bool()
    return float((predicted & truth).sum() / (predicted | truth).sum())


def overfit(method: Method, batch: Batch) -> float:
    """Its IoU on a batch on which it is trained until it knows it. Whoever wants a teacher gets one that does."""
    if isinstance(method, Labeller) and (wanted := method.teacher(method.options)):
        teacher = make(wanted.method, {"augment": "none"})
        overfit(teacher, batch)
        method.learn_from(teacher.trained_state())
    optimizer = torch.optim.AdamW([p for p in method.train().parameters() if p.requires_grad], 2e-3)
    seen = as_in_training(batch, method)
    for step in range(60):
        if step % 10 == 0 and step and (found := overlap(method, seen if method.needs_prompts else batch)) > 0.8:
            return found
        losses = method.loss(method(seen), seen)
        optimizer.zero_grad()
        method.total(losses).backward()
        optimizer.step()
    return overlap(method, seen if method.needs_prompts else batch)


@pytest.mark.parametrize("name", TRAINED)
def test_overfits_one_batch(name: str) -> None:
    method = make(name)
    batch = make_batch(2, side=128 if isinstance(method, Labeller) else 256)
    found = overfit(method, batch)
    assert found > 0.8, f"IoU {found:.2f} on the batch it was trained on"


@pytest.mark.parametrize("case", CASES, ids=ids)
def test_checkpoint_round_trip_gives_identical_masks(
    case: tuple[str, dict[str, object]], tmp_path: Path, batch: Batch
) -> None:
    name, options = case
    method = make(*case)
    with torch.no_grad():
        for parameter in method.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.01)
    settings = make_settings(name, "x", {f"method.{k}": v for k, v in options.items()})
    data = checkpoint.dump(method, checkpoint.Record(settings.flat(), "b", "d", 1, {}))
    (tmp_path / checkpoint.FILE).write_bytes(data)
    record, tensors = checkpoint.read(Storage(str(tmp_path)))
    assert set(tensors) == set(method.trained_names())
    assert record.settings == settings.flat()
    other = make(*case)
    checkpoint.apply(other, tensors, "here")
    with torch.inference_mode():
        assert torch.equal(other.eval().predict(batch), method.eval().predict(batch))


@pytest.mark.parametrize("name", NEUTRAL)
@pytest.mark.parametrize("kind", [None, "point", "box"])
def test_starts_as_sam_bit_for_bit(name: str, kind: str | None, batch: Batch) -> None:
    method, sam = make(name).eval(), build("vit_t")
    if kind or method.needs_prompts:
        batch = asked_for(batch, 3, kind or "mixed")
    with torch.inference_mode():
        embedding = encode(sam.image_encoder, normalise(sam, batch.image))
        expected, iou = ask(sam, embedding, batch.prompts)
        masks, own_iou = method.answer(method.embedding(batch), batch)
        assert torch.equal(masks, expected) and torch.equal(own_iou, iou)
        assert torch.equal(method.predict(batch), upscale(expected[:, :, 0], 256))


@pytest.mark.parametrize("name", [n for n in METHODS if registry.load(n).answers])
def test_answers_each_prompt_as_if_it_were_alone(name: str, batch: Batch) -> None:
    method = make(name).eval()
    asked = asked_for(batch, 3)
    assert asked.prompts is not None
    with torch.inference_mode():
        embedding = method.embedding(batch)
        masks, iou = method.answer(embedding, asked)
        assert masks.shape == (4, 3, 4, 64, 64) and iou.shape == (4, 3, 4)
        one = P.Prompts(asked.prompts.coords[:, 1:2], asked.prompts.labels[:, 1:2])
        alone, _ = method.answer(embedding, dataclasses.replace(batch, prompts=one))
        torch.testing.assert_close(alone[:, 0], masks[:, 1], rtol=1e-4, atol=1e-4)
        assert method.predict(asked).shape == (4, 3, 256, 256)


@pytest.mark.parametrize("name", METHODS)
def test_prediction_does_not_depend_on_the_other_images(name: str) -> None:
    method, batch = make(name).eval(), make_batch(3)
    alone = batch.map(lambda tensor: tensor[1:2])
    with torch.inference_mode():
        torch.testing.assert_close(method.predict(alone)[0], method.predict(batch)[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in METHODS if registry.load(name).frozen_encoder])
def test_a_frozen_encoder_may_be_left_out(name: str, batch: Batch) -> None:
    """With what is stored of the images, the predictions and losses are those that the images give."""
    method = make(name).eval()
    assert not any(p.requires_grad for p in method.sam.image_encoder.parameters())
    assert method.augment in ("none", "flip")
    seen = as_in_training(batch, method)
    embedding, blocks = embed_image_and_blocks(method.sam, seen, method.encoder_blocks)
    stored = dataclasses.replace(seen, image=seen.image[..., :0, :0], embedding=embedding, blocks=blocks)
    torch.testing.assert_close(method.predict(stored), method.predict(seen), rtol=0, atol=0)
    if method.trains:
        method.train()
        assert method.loss(method(stored), stored) == method.loss(method(seen), seen)


@pytest.mark.parametrize("case", TRAINED_CASES, ids=ids)
def test_parts_of_a_batch_give_its_gradients(case: tuple[str, dict[str, object]]) -> None:
    """Whatever a loss does between images, and with a filler among them."""
    method = moved_from_its_start(make(*case)).train()
    batch = as_in_training(make_batch(3), method)
    batch = dataclasses.replace(batch, weight=torch.tensor([1.0, 1.0, 0.0]))
    if isinstance(method, Labeller):
        pytest.skip("batch norm wants the whole batch")

    def gradients(part: int) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
        method.zero_grad(set_to_none=True)
        losses = Pass(method, method, torch.device("cpu"), torch.float32, part)(batch)
        told = {name: float(value) for name, value in losses.items()}
        return told, {n: p.grad for n, p in method.named_parameters() if p.grad is not None}

    (losses, whole), (again, found) = gradients(0), gradients(2)
    assert losses == pytest.approx(again, rel=1e-4)
    assert found.keys() == whole.keys() == set(method.trained_names())
    largest = max(float(g.abs().max()) for g in whole.values())
    for key, gradient in whole.items():
        tolerance = 1e-3 * max(float(gradient.abs().max()), 1e-4 * largest)
        torch.testing.assert_close(found[key], gradient, rtol=1e-3, atol=tolerance)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], Path]:
    """Every case's gradients on two ranks, for an even and an uneven global batch."""
    out = tmp_path_factory.mktemp("ranks")
    cases = [(name, images, options) for name, options in TRAINED_CASES for images in (4, 3)]
    mp.spawn(run_ranks, args=(2, free_port(), cases, out), nprocs=2)
    return {(i // 2, cases[i][1]): out / f"{i}.pt" for i in range(len(cases))}


@pytest.mark.parametrize("images", [4, 3], ids=["even", "with filler"])
@pytest.mark.parametrize("number", range(len(TRAINED_CASES)), ids=[ids(c) for c in TRAINED_CASES])
def test_two_ranks_give_the_gradients_of_one(number: int, images: int, two_ranks: dict) -> None:
    name, options = TRAINED_CASES[number]
    if options.get("sample_negatives") == "local":
        pytest.skip("negatives of this rank alone are another loss by definition")
    expected = gradients(name, images, 0, 1, options)
    found = torch.load(two_ranks[number, images], weights_only=True)
    assert set(found) == set(expected)
    largest = max(float(g.abs().max()) for g in expected.values())
    for key, gradient in expected.items():
        # the floor is for UNSEEN
        tolerance = 1e-3 * max(float(gradient.abs().max()), 1e-4 * largest)
        torch.testing.assert_close(found[key], gradient, rtol=1e-3, atol=tolerance)
