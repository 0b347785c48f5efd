"""Which optimizer trains what, and that they go on from a saved state."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from methods.backbone.build import build
from methods.promptable import Promptable
from orchestrator.config import TrainSettings
from orchestrator.optimizer import Optimizers, make_optimizers


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(80, 80)
        self.wide, self.narrow = nn.Linear(80, 96), nn.Linear(96, 4)
        self.norm = nn.LayerNorm(96)

    def forward(self, x: Tensor) -> Tensor:
        return self.narrow(self.norm(self.wide(self.table(x))))


def steps(net: Net, optimizers: Optimizers, count: int, first: int = 0) -> None:
    for i in range(first, first + count):
        optimizers.zero_grad()
        net(torch.arange(i, i + 8)).square().mean().backward()
        optimizers.step()


def trained_by(optimizers: Optimizers) -> dict[str, list[int]]:
    return {type(o).__name__: [id(p) for g in o.param_groups for p in g["params"]] for o in optimizers._parts}


def test_muon_has_the_large_matrices_and_adamw_the_rest() -> None:
    net = Net()
    who = trained_by(make_optimizers(net, TrainSettings(optimizer="muon")))
    assert who["Muon"] == [id(net.wide.weight)]
    assert sorted(who["Muon"] + who["AdamW"]) == sorted(id(p) for p in net.parameters())
    assert list(trained_by(make_optimizers(net, TrainSettings()))) == ["AdamW"]


def test_every_weight_of_sam_is_trained_once() -> None:
    method = Promptable(build("vit_t", random=True))
    who = trained_by(make_optimizers(method, TrainSettings(optimizer="muon")))
    assert sorted(who["Muon"] + who["AdamW"]) == sorted(id(p) for p in method.parameters() if p.requires_grad)
    names = {id(p): name for name, p in method.named_parameters()}
    assert {names[i].rsplit(".", 1)[1] for i in who["Muon"]} == {"weight"}
    assert not [names[i] for i in who["Muon"] if "embed" in names[i] or "token.weight" in names[i]]


def test_frozen_weights_have_no_optimizer() -> None:
    assert make_optimizers(Net().requires_grad_(False), TrainSettings()) is None


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_the_rate_falls_for_all(kind: str) -> None:
    settings = TrainSettings(optimizer=kind, lr=0.1, matrix_lr=0.3)
    optimizers = make_optimizers(Net(), settings)
    for share in (0.5, 0.1):  # a share of the first rates, not of the last
        optimizers.set_rate(share)
    rates = {type(o).__name__: o.param_groups[0]["lr"] for o in optimizers._parts}
    assert rates == pytest.approx({"AdamW": 0.01} | ({"Muon": 0.03} if kind == "muon" else {}))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_it_goes_on_from_its_state(kind: str) -> None:
    settings = TrainSettings(optimizer=kind, lr=0.01)
    torch.manual_seed(0)
    net = Net()
    whole = make_optimizers(net, settings)
    steps(net, whole, 3)
    other, state = copy.deepcopy(net), copy.deepcopy(whole.state_dict())
    steps(net, whole, 3, first=3)
    again = make_optimizers(other, settings)
    again.load_state_dict(state)
    steps(other, again, 3, first=3)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
