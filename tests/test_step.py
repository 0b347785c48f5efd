"""A step's gradients: whole, in parts, and where a GPU's memory does not suffice. Every method: test_conformance."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from batches import make_batch, make_method

from methods.base import Batch
from orchestrator.step import NotFinite, Pass

CPU = torch.device("cpu")


def gradients(run: Pass, batch: Batch) -> dict[str, torch.Tensor]:
    run.method.zero_grad(set_to_none=True)
    run(batch)
    return {n: p.grad.clone() for n, p in run.method.named_parameters() if p.grad is not None}


def test_too_little_memory_makes_smaller_parts() -> None:
    method, batch = make_method("decoder").train(), make_batch(5)
    run = Pass(method, method, CPU, torch.float32)
    whole, forward, sizes = gradients(run, batch), method.forward, []

    def scarce(part: Batch) -> dict[str, torch.Tensor]:
        sizes.append(len(part))
        if len(part) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(part)

    with patch.object(method, "forward", scarce):
        found = gradients(run, batch)
        assert run.part == 2 and sizes == [5, 3, 2, 2, 1, 2, 2, 1]
        for name, gradient in whole.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5 + 1e-3 * float(gradient.abs().max()))
        with pytest.raises(torch.OutOfMemoryError):
            Pass(method, method, CPU, torch.float32)(batch, split=False)


def test_one_image_that_does_not_fit_is_an_error() -> None:
    method = make_method("decoder").train()
    with (
        patch.object(method, "forward", side_effect=torch.OutOfMemoryError("CUDA out of memory")),
        pytest.raises(torch.OutOfMemoryError),
    ):
        Pass(method, method, CPU, torch.float32)(make_batch(4))


@pytest.mark.parametrize("part", [0, 1])
def test_a_loss_that_is_not_finite_leaves_no_gradient(part: int) -> None:
    method = make_method("decoder").train()
    with torch.no_grad():
        method.sam.mask_decoder.iou_token.weight.fill_(float("nan"))
    with pytest.raises(NotFinite, match="bce nan, iou nan"):
        Pass(method, method, CPU, torch.float32, part)(make_batch(2))
    assert all(p.grad is None for p in method.parameters())


def test_ranks_exchange_gradients_at_the_last_part_alone() -> None:
    method, batch = make_method("decoder").train(), make_batch(5)
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
    try:
        model = torch.nn.parallel.DistributedDataParallel(method, broadcast_buffers=False, gradient_as_bucket_view=True)
        exchanged: list[int] = []

        def exchange(state, bucket):  # type: ignore[no-untyped-def]  # DDP looks at annotations
            exchanged.append(bucket.index())
            done: torch.futures.Future = torch.futures.Future()
            done.set_result(bucket.buffer())
            return done

        model.register_comm_hook(None, exchange)
        expected = gradients(Pass(method, method, CPU, torch.float32), batch)
        found = gradients(Pass(method, model, CPU, torch.float32, 2), batch)
    finally:
        torch.distributed.destroy_process_group()
    assert exchanged and len(exchanged) == len(set(exchanged)), "each bucket once"
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-3, atol=1e-5 + 1e-3 * float(gradient.abs().max()))


def test_predictions_in_parts_are_those_of_the_whole() -> None:
    method, batch = make_method("decoder").eval(), make_batch(5)
    with torch.inference_mode():
        whole = Pass(method, method, CPU, torch.float32).predict(batch)
        found = Pass(method, method, CPU, torch.float32, 2).predict(batch)
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4)
