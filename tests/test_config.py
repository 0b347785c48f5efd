"""Settings are checked once, at the edge, and say what is wrong in one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods import registry
from orchestrator.config import WAYS, describe, from_flat, make_settings, parse_set
from orchestrator.errors import UserError


@pytest.mark.parametrize("method", registry.names())
def test_flat_and_back(method: str) -> None:
    settings = make_settings(method, "x", {"train.lr": "1e-3", "train.workers": "2"})
    assert settings.train.lr == 1e-3 and settings.train.workers == 2
    assert from_flat(settings.flat()) == settings


@given(st.floats(1e-6, 1.0), st.integers(1, 64), st.booleans())
def test_values_survive_the_command_line(lr: float, scale: int, detach: bool) -> None:
    text = f"train.lr={lr!r} method.scale={scale} method.detach_tokens={detach} train.lr_min=0"
    settings = make_settings("mca", "x", parse_set(text))
    assert (settings.train.lr, settings.method_options.scale) == (lr, scale)
    assert settings.method_options.detach_tokens is detach


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train.lrr": "1"}, "unknown setting 'train.lrr' (nearest: train.lr"),
        ({"method.token_temprature": "1"}, "nearest: method.token_temperature"),
        ({"lr": "1"}, "unknown setting 'lr'"),
        ({"train.matrix_lr": "0.1"}, "train.matrix_lr=0.1: is Muon's; add train.optimizer=muon"),
        ({"train.optimizer": "moun"}, "nearest: muon"),
        ({"train.lr": "fast"}, "train.lr=fast: not a number"),
        ({"train.lr": "nan"}, "train.lr=nan: not a number"),
        ({"train.lr": "inf"}, "train.lr=inf: not a number"),
        ({"train.lr": "0"}, "train.lr=0.0: must be more than 0"),
        ({"train.epochs": "2.5"}, "train.epochs=2.5: not a whole number"),
        ({"train.epochs": "0"}, "must be at least 1"),
        ({"train.seed": "-1"}, "must be at least 0"),
        ({"data.val_fraction": "0.9"}, "must be at most 0.5"),
        ({"method.detach_tokens": "maybe"}, "not true or false"),
        ({"method.blocks": "al"}, "nearest: all"),
        ({"backbone.name": "vit_x"}, "unknown value of backbone.name 'vit_x' (nearest: vit_"),
        ({"method.token_temperature": "0"}, "must be more than 0"),
        ({"train.workers": "16"}, "more ranks than train.batch=8"),
        ({"train.workers": "2", "train.gpus_per_worker": "0.5"}, "only with train.workers=1"),
    ],
)
def test_bad_settings_are_one_line(changes: dict[str, str], says: str) -> None:
    with pytest.raises(UserError) as caught:
        make_settings("mca", "x", changes)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_method_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown method 'mcaa' \\(nearest: mca"):
        make_settings("mcaa", "x")


@pytest.mark.parametrize("text", ["train.lr", "=3", "train.lr=", "train.lr 3"])
def test_set_must_be_pairs(text: str) -> None:
    with pytest.raises(UserError, match="not KEY=VALUE"):
        parse_set(text)


def test_every_setting_has_a_help_text() -> None:
    for method in registry.names():
        for section in make_settings(method, "x").sections().values():
            assert all(help for _, _, help in describe(section))


@pytest.mark.parametrize("method", registry.names())
def test_objects_are_asked_for_where_the_method_or_the_user_wants_it(method: str) -> None:
    kind = registry.load(method)
    assert make_settings(method, "x").per_object is kind.needs_prompts
    always = {"prompts.objects": "always"}
    if kind.answers:
        settings = make_settings(method, "x", always)
        assert settings.per_object and from_flat(settings.flat()).per_object
    else:
        with pytest.raises(UserError, match=f"method '{method}' draws its own prompts; leave it out"):
            make_settings(method, "x", always)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"prompts.kind": "pont"}, "unknown value of prompts.kind 'pont' (nearest: point"),
        ({"prompts.judged_by": "mixed"}, "unknown value of prompts.judged_by 'mixed'"),
        ({"prompts.objects": "never"}, "unknown value of prompts.objects 'never'"),
        ({"prompts.points": "0"}, "prompts.points=0: must be at least 1"),
        ({"prompts.points": "21"}, "prompts.points=21: must be at most 20"),
        ({"prompts.jitter": "-0.1"}, "prompts.jitter=-0.1: must be at least 0"),
        ({"prompts.repeats": "1"}, "prompts.repeats=1: must be at least 2"),
        ({"prompts.per_image": "0"}, "prompts.per_image=0: must be at least 1"),
        ({"prompts.at_most": "-1"}, "prompts.at_most=-1: must be at least 0"),
        ({"prompts.jiter": "0.1"}, "unknown setting 'prompts.jiter' (nearest: prompts.jitter"),
    ],
)
def test_bad_prompts_are_one_line(changes: dict[str, str], says: str) -> None:
    with pytest.raises(UserError) as caught:
        make_settings("prompt_learning", "x", changes)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_how_something_is_computed_is_no_part_of_what() -> None:
    """A teacher's weights, and whatever else is found again by its settings, stay those of an older version."""
    settings = make_settings("mca", "x", {"train.micro_batch": 2, "backbone.attention": "untouched"})
    assert set(WAYS) <= settings.flat().keys()
    assert settings.what_is_computed() == make_settings("mca", "x").what_is_computed()
    assert settings.what_is_computed().keys() == settings.flat().keys() - set(WAYS)
    assert settings.execution.attention == "untouched" and settings.execution.decoder == "batched"
