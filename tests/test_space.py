"""Search spaces: every method has one, it speaks of real settings, SET fixes a dimension."""

from __future__ import annotations

import dataclasses
import pickle

import optuna
import pytest

from methods import registry
from orchestrator.config import make_settings
from orchestrator.errors import UserError
from orchestrator.space import Space, chosen_settings
from orchestrator.sweep import trials_of

MCA = make_settings("mca", "x")


def draw(space: Space, seed: int, count: int = 40) -> list[tuple[dict, dict]]:
    """(suggested, all choices) of random trials."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    drawn = []
    for _ in range(count):
        trial = study.ask()
        constants = space(trial)
        drawn.append((dict(trial.params), {**trial.params, **constants}))
    return drawn


@pytest.mark.parametrize("method", registry.names())
def test_every_point_is_a_valid_setting(method: str) -> None:
    for _, choices in draw(Space(make_settings(method, "x"), {}), 0):
        make_settings(method, "x", chosen_settings(choices))


@pytest.mark.parametrize("method", [n for n in registry.names() if registry.load(n).trains])
def test_muons_rate_is_a_dimension_where_muon_trains(method: str) -> None:
    for optimizer in ("adamw", "muon"):
        settings = make_settings(method, "x", {"train.optimizer": optimizer})
        names = {name for suggested, _ in draw(Space(settings, {}), 0, 4) for name in suggested}
        assert ("train.matrix_lr" in names) == (optimizer == "muon")


@pytest.mark.parametrize("method", registry.names())
def test_the_defaults_are_a_point_of_the_space(method: str) -> None:
    settings = make_settings(method, "x")
    space = Space(settings, {})
    point = space.default_point()
    assert point, "the first trial is the method as its defaults have it"
    assert settings.replace(chosen_settings(point)) == settings
    study = optuna.create_study()
    study.enqueue_trial(point)
    trial = study.ask()
    space(trial)
    assert trial.params == point


def test_fixed_settings_are_no_dimension() -> None:
    space = Space(MCA, {"train.lr": 1e-3, "method.token_weight": 0.5})
    for suggested, choices in draw(space, 1):
        assert not {"train.lr", "method.token_weight"} & set(suggested)
        assert not {"train.lr", "method.token_weight"} & set(choices), "a fixed setting must not be chosen over"


def test_contrast_without_weight_has_no_temperature() -> None:
    seen = set()
    for suggested, choices in draw(Space(MCA, {}), 2):
        seen.add(choices["choice.contrasts"])
        for name in ("token", "sample"):
            off = choices.get(f"method.{name}_weight") == 0
            assert off == (f"method.{name}_temperature" not in suggested)
    assert seen == {"both", "token", "sample"}


def test_a_space_can_be_saved() -> None:
    space = pickle.loads(pickle.dumps(Space(MCA, {"train.lr": 1e-3})))
    assert space.fixed == {"train.lr": 1e-3}


def test_a_method_without_a_space_says_so() -> None:
    with pytest.raises(UserError, match="search_spaces/nothing.py is missing"):
        Space(dataclasses.replace(MCA, method="nothing"), {})


def test_a_finite_space_is_tried_whole() -> None:
    sam = Space(make_settings("sam", "x"), {})
    assert sam.all_points() == [{"method.mask_choice": "single"}, {"method.mask_choice": "best_predicted"}]
    assert sam.first_points() == sam.all_points()
    assert Space(MCA, {}).all_points() is None
    assert trials_of(sam, 6) == 2 and trials_of(Space(MCA, {}), 6) == 6
    one = Space(make_settings("sam", "x"), {"method.mask_choice": "single"})
    assert one.all_points() == [{}] and trials_of(one, 6) == 1


def test_balanced_bce_has_no_weight_of_iou() -> None:
    shadow = make_settings("mca", "x", {"method.mask_loss": "bbce"})
    assert all("method.iou_weight" not in suggested for suggested, _ in draw(Space(shadow, {}), 3))
    assert all("method.iou_weight" in suggested for suggested, _ in draw(Space(MCA, {}), 3))


def test_what_a_trial_is_measured_by_is_no_dimension() -> None:
    """Else the easiest prompts would win; and what a prompt has none of is not drawn for it."""
    space = Space(make_settings("prompt_learning", "x"), {})
    kinds = {kind: set(space.point_of({"prompts.kind": kind}) or {}) for kind in ("point", "box", "mixed")}
    trained = {"prompts.kind", "prompts.points", "prompts.jitter", "prompts.per_image"}
    assert {name for name in kinds["mixed"] if name.startswith("prompts.")} == trained
    assert kinds["mixed"] - kinds["point"] == {"prompts.jitter"}
    assert kinds["mixed"] - kinds["box"] == {"prompts.points"}
