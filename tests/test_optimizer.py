"""Which optimizer trains what, and that they go on from a saved state."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods.backbone.build import build
from methods.promptable import Promptable
from methods.sam_adapter import SamAdapter
from orchestrator.config import TrainSettings
from orchestrator.errors import UserError
from orchestrator.muon import Muon
from orchestrator.optimizer import Optimizers, make_optimizers


class Net(nn.Module):
    """A backbone with two matrices, and something beside it."""

    def rates(self) -> dict[str, float]:
        return {}

    def __init__(self) -> None:
        super().__init__()
        self.sam = nn.ModuleDict({"wide": nn.Linear(80, 96), "late": nn.Linear(96, 96), "narrow": nn.Linear(96, 4)})
        self.table, self.norm, self.beside = nn.Embedding(80, 80), nn.LayerNorm(96), nn.Linear(96, 96)

    def forward(self, x: Tensor, late: bool = True) -> Tensor:
        y = self.norm(self.sam["wide"](self.table(x)))
        return self.sam["narrow"](self.beside(y) + self.sam["late"](y) * float(late))


def make(net: nn.Module, **settings: Any) -> Optimizers:
    found = make_optimizers(net, TrainSettings(**settings))  # type: ignore[arg-type]
    assert found is not None
    return found


def steps(net: Net, optimizers: Optimizers, count: int, first: int = 0, late: bool = True) -> None:
    for i in range(first, first + count):
        optimizers.zero_grad()
        net(torch.arange(i, i + 8), late).square().mean().backward()
        optimizers.step()


def trained_by(optimizers: Optimizers) -> dict[str, list[int]]:
    kinds = {True: "muon", False: "adamw"}
    return {
        kinds[isinstance(o, torch.optim.Muon)]: [id(p) for g in o.param_groups for p in g["params"]]
        for o in optimizers._parts
    }


def test_muon_has_the_backbones_large_matrices_and_adamw_the_rest() -> None:
    net = Net()
    who = trained_by(make(net, optimizer="muon"))
    assert who["muon"] == [id(net.sam["wide"].weight), id(net.sam["late"].weight)]
    assert sorted(who["muon"] + who["adamw"]) == sorted(id(p) for p in net.parameters())
    assert list(trained_by(make(net))) == ["adamw"]


def test_every_weight_of_sam_is_trained_once() -> None:
    method = Promptable(build("vit_t", random=True))
    who = trained_by(make(method, optimizer="muon"))
    assert sorted(who["muon"] + who["adamw"]) == sorted(id(p) for p in method.parameters() if p.requires_grad)
    names = {id(p): name for name, p in method.named_parameters()}
    muons = {names[i] for i in who["muon"]}
    assert {"sam.image_encoder.blocks.0.attn.qkv.weight", "sam.image_encoder.blocks.5.mlp.lin1.weight"} <= muons
    assert "sam.mask_decoder.transformer.final_attn_token_to_image.q_proj.weight" in muons
    assert not [n for n in muons if "embed" in n or "rel_pos" in n or "mask_tokens" in n]


def test_adaptors_stay_with_adamw() -> None:
    method = SamAdapter(build("vit_t", random=True))
    names = {id(p): name for name, p in method.named_parameters()}
    muons = [names[i] for i in trained_by(make(method, optimizer="muon"))["muon"]]
    assert muons and all(name.startswith("sam.mask_decoder.") for name in muons)


def test_frozen_weights_have_no_optimizer() -> None:
    assert make_optimizers(Net().requires_grad_(False), TrainSettings()) is None  # type: ignore[arg-type]


def test_muon_without_a_matrix_is_said() -> None:
    net = Net()
    net.sam.requires_grad_(False)
    with pytest.raises(UserError, match="trains no large matrix of SAM; use adamw"):
        make(net, optimizer="muon")


def test_a_matrix_without_a_gradient_rests() -> None:
    torch.manual_seed(0)
    net = Net()
    optimizers = make(net, optimizer="muon", weight_decay=0.0)
    steps(net, optimizers, 2)
    before = net.sam["late"].weight.detach().clone()
    steps(net, optimizers, 3, first=2, late=False)
    assert torch.equal(net.sam["late"].weight, before), "Muon goes on along its last step"
    steps(net, optimizers, 1, first=5)
    assert not torch.equal(net.sam["late"].weight, before)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_rate_falls_for_all(kind: str) -> None:
    optimizers = make(Net(), optimizer=kind, lr=0.1, matrix_lr=0.3)
    for share in (0.5, 0.1):  # a share of the first rates, not of the last
        optimizers.set_rate(share)
    rates = {isinstance(o, torch.optim.Muon): o.param_groups[0]["lr"] for o in optimizers._parts}
    assert rates == pytest.approx({False: 0.01} | ({True: 0.03} if kind == "muon" else {}))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_it_goes_on_from_its_state(kind: str) -> None:
    torch.manual_seed(0)
    net = Net()
    whole = make(net, optimizer=kind, lr=0.01)
    steps(net, whole, 3)
    other, state = copy.deepcopy(net), copy.deepcopy(whole.state_dict())
    steps(net, whole, 3, first=3)
    again = make(other, optimizer=kind, lr=0.01)
    again.load_state_dict(state)
    steps(other, again, 3, first=3)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_muon_steps_as_torchs_own(decay: float, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    shapes = [(64, 64), (96, 64), (64, 96), (64, 64), (96, 64)]
    ours = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    torchs = [nn.Parameter(p.detach().clone()) for p in ours]
    monkeypatch.setattr("orchestrator.muon.pick_precision", lambda *_: torch.bfloat16)
    pair = [(kind(p, lr=0.1, weight_decay=decay), p) for kind, p in ((Muon, ours), (torch.optim.Muon, torchs))]
    for _ in range(3):
        grads = [torch.randn(shape) for shape in shapes]
        for optimizer, parameters in pair:
            for p, grad in zip(parameters, grads, strict=True):
                p.grad = grad.clone()
            optimizer.step()
    for a, b in zip(ours, torchs, strict=True):
        assert (a - b).norm() < 0.01 * b.norm()  # bf16's rounding
    states = [[o.state_dict()["state"][i]["momentum_buffer"] for i in range(5)] for o, _ in pair]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*states, strict=True))
