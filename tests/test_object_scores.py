"""Scores of objects that are prompted for one by one: which prompts, which answers, which means."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from data_samples import encode, picture
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from torch import Tensor

from methods.base import Batch
from orchestrator import object_scores as module
from orchestrator.build import build_method
from orchestrator.config import PromptSettings, make_settings
from orchestrator.data.loader import Apart, valid_size
from orchestrator.data.objects import Target, objects_of
from orchestrator.data.reader import DataSplit, open_dataset
from orchestrator.data.schema import Row
from orchestrator.data.tasks import OBJECTS
from orchestrator.data.writer import DatasetWriter
from orchestrator.engine import Engine, NotFinite
from orchestrator.metrics import METRICS, OBJECT_METRICS
from orchestrator.object_scores import Questions, Scored, boundary, chosen, evaluate_objects, means
from orchestrator.ranks import Ranks
from orchestrator.storage import Storage

SIDE, SHAPE = 64, (32, 48)  # the input's, and a picture's: in the input it has 43 x 64 pixels
ALL = tuple(OBJECT_METRICS)


def target(y0: int, x0: int, y1: int, x1: int, category: int = 0) -> Target:
    """A filled rectangle."""
    return Target(np.ones((y1 - y0, x1 - x0), np.bool_), (y0, x0, y1, x1), category)


def bare(shape: tuple[int, int] = SHAPE) -> Batch:
    """A batch of one picture, of which nothing but its size matters."""
    one = torch.zeros(1, dtype=torch.int64)
    valid = torch.tensor([valid_size(*shape, SIDE, "pad")])
    image, mask = torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1, 1, SIDE, SIDE)
    return Batch(image, mask, valid, torch.tensor([shape]), one, one, torch.ones(1))


def ask(*targets: Target, shape: tuple[int, int] = SHAPE, name: str = "a", repeats: int = 3, **more: Any) -> Questions:
    return Questions(bare(shape), list(targets), shape, name, PromptSettings(**more), repeats)


class Told:
    """In a method's place: answers prompt after prompt with what it was told, 4xaxa logits and 4 scores each."""

    def __init__(self, *answers: tuple[Tensor, Tensor]) -> None:
        self.answers, self.seen = list(answers), list[Batch]()

    def answer(self, embedding: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        assert batch.prompts is not None
        self.seen.append(batch)
        count = batch.prompts.labels.shape[1]
        mine, self.answers = self.answers[:count], self.answers[count:]
        return torch.stack([masks for masks, _ in mine])[None], torch.stack([iou for _, iou in mine])[None]


def shown(mask: np.ndarray) -> Tensor:
    """Logits SxS that say just this mask HxW, once they are cut out and shrunk to it again."""
    height, width = valid_size(*mask.shape, SIDE, "pad")
    logits = F.interpolate(torch.from_numpy(mask).float()[None, None], (height, width), mode="nearest-exact")[0, 0]
    return 20 * F.pad(logits, (0, SIDE - width, 0, SIDE - height), value=1.0) - 10


def reply(*masks: np.ndarray, iou: tuple[float, ...] = (0.5, 0.5, 0.5, 0.5)) -> tuple[Tensor, Tensor]:
    """One mask for all four outputs, or one for each."""
    return torch.stack([shown(mask) for mask in (masks * 4)[:4]]), torch.tensor(iou)


def halves(part: float, of: Target) -> np.ndarray:
    """The left part of a target: its IoU with it is ``part``."""
    mask = of.full(SHAPE)
    mask[:, of.box[1] + round(part * (of.box[3] - of.box[1])) :] = False
    return mask


@st.composite
def blobs(draw: st.DrawFn) -> tuple[Target, tuple[int, int]]:
    """A target of any form in a picture of any size."""
    crop = draw(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))).filter(np.any))
    at = ndimage.find_objects(crop.astype(int))[0]
    crop = crop[at]
    y0, x0 = draw(st.integers(0, 30)), draw(st.integers(0, 30))
    y1, x1 = y0 + crop.shape[0], x0 + crop.shape[1]
    return Target(crop, (y0, x0, y1, x1)), (y1 + draw(st.integers(0, 30)), x1 + draw(st.integers(0, 30)))


@settings(max_examples=40)
@given(blobs(), st.text(max_size=5))
def test_points_lie_on_the_object(given_: tuple[Target, tuple[int, int]], name: str) -> None:
    one, shape = given_
    asked = ask(one, shape=shape, name=name, repeats=5)
    assert asked.coords.shape == (5, 1, 2)
    height, width = asked.valid
    full = one.full(shape)
    for x, y in asked.coords[:, 0].tolist():
        assert full[int(y * shape[0] / height), int(x * shape[1] / width)]


@settings(max_examples=40)
@given(blobs(), st.floats(0, 0.5))
def test_boxes_are_the_objects_up_to_twice_the_jitter(given_: tuple[Target, tuple[int, int]], jitter: float) -> None:
    one, shape = given_
    asked = ask(one, shape=shape, judged_by="box", judged_jitter=jitter)
    y0, x0, y1, x1 = one.box
    scale = np.array([asked.valid[1] / shape[1], asked.valid[0] / shape[0]])
    off = np.abs(asked.coords - np.array([[x0, y0], [x1, y1]]) * scale)
    assert asked.coords.shape == (3, 2, 2)
    assert (off <= (2 * jitter * np.array([x1 - x0, y1 - y0]) + 1e-9) * scale).all()
    assert jitter < 1e-3 or off.max() > 0


def test_the_pictures_id_and_the_objects_place_decide_the_prompts() -> None:
    a, b = target(0, 0, 20, 20), target(0, 0, 20, 20)
    first = ask(a, b)
    assert np.array_equal(first.coords, ask(a, b, kind="box", jitter=0.3, points=4).coords), "not what trains"
    assert np.array_equal(first.coords[:3], ask(a).coords), "nor the other objects"
    assert not np.array_equal(first.coords[:3], first.coords[3:])
    assert not np.array_equal(first.coords, ask(a, b, name="b").coords)
    assert len({tuple(at) for at in first.coords[:, 0].tolist()}) > 3, "nor is one asked for by the same point again"


@pytest.mark.parametrize(("by", "labels"), [("point", [1, -1]), ("box", [2, 3])])
def test_the_method_is_asked_as_sam_wants_it(by: str, labels: list[int]) -> None:
    one = target(4, 4, 20, 20)
    asked, method = ask(one, judged_by=by), Told(*[reply(one.full(SHAPE))] * 3)
    list(asked.masks(method, torch.zeros(1, 1)))  # type: ignore[arg-type]
    prompts = method.seen[0].prompts
    assert prompts is not None and prompts.labels.tolist() == [[labels] * 3]
    count = asked.coords.shape[1]
    on = 0.5 if by == "box" else 0.0  # SAM's own for boxes, which are told by their edges
    np.testing.assert_allclose(prompts.coords[0, :, :count].numpy(), asked.coords + on, rtol=1e-6)


def score(asked: Questions, method: Told, names: tuple[str, ...] = ALL) -> list[Scored]:
    return list(asked.scored(method, torch.zeros(1, 1), names))  # type: ignore[arg-type]


def test_the_truth_is_right_and_what_is_beside_it_wrong() -> None:
    """At the mask's own resolution, whatever the padding of the input shows."""
    one, other = target(3, 6, 19, 27, category=4), target(20, 30, 32, 48, category=2)
    method = Told(*[reply(one.full(SHAPE))] * 3, *[reply(one.full(SHAPE))] * 3)
    right, wrong = score(ask(one, other), method)
    assert (right.category, wrong.category) == (4, 2)
    assert right.values == {name: 0.0 if "spread" in name else 1.0 for name in ALL}
    assert wrong.values == dict.fromkeys(ALL, 0.0)


def test_answers_come_back_at_the_masks_own_size() -> None:
    mask = np.zeros(SHAPE, np.bool_)
    mask[5:9, 40:], mask[30:, :3] = True, True
    (found, _) = ask(target(0, 0, 9, 9), repeats=2).masks(Told(reply(mask), reply(mask)), torch.zeros(1, 1))  # type: ignore[arg-type]
    assert found.dtype == np.bool_ and np.array_equal(found, mask)


def test_mean_and_spread_are_over_the_prompts_of_an_object() -> None:
    one, other = target(0, 0, 16, 20), target(16, 20, 32, 40)
    parts = (0.2, 0.5, 0.8, 1.0, 1.0, 0.4)
    method = Told(*(reply(halves(part, one if k < 3 else other)) for k, part in enumerate(parts)))
    first, second = score(ask(one, other), method)
    for found, own in ((first, parts[:3]), (second, parts[3:])):
        assert found.values["object_miou"] == pytest.approx(np.mean(own), abs=1e-6)
        assert found.values["iou_spread"] == pytest.approx(np.std(own, ddof=1), abs=1e-6)


def test_the_three_are_chosen_from_by_what_is_predicted_or_by_the_truth() -> None:
    """Output 0 is the answer and none of the three, however sure it is."""
    one = target(0, 0, 16, 20)
    answer = reply(*(halves(part, one) for part in (0.9, 0.2, 0.4, 0.6)), iou=(0.99, 0.1, 0.8, 0.3))
    (found,) = score(ask(one, repeats=2), Told(answer, answer))
    assert found.values["object_miou"] == pytest.approx(0.9)
    assert found.values["predicted_miou"] == pytest.approx(0.4)
    assert found.values["oracle_miou"] == pytest.approx(0.6)
    ring = [boundary(halves(part, one), 1) for part in (0.4, 0.6, 1.0)]
    for pick, own in (("predicted", ring[0]), ("oracle", ring[1])):
        iou = (own & ring[2]).sum() / (own | ring[2]).sum()
        assert found.values[f"{pick}_boundary_iou"] == pytest.approx(iou) and found.values[f"{pick}_spread"] == 0


def test_each_of_the_three_has_its_own_spread() -> None:
    one = target(0, 0, 16, 20)
    answers = [
        reply(*(halves(part, one) for part in (0.5, 0.2, low, 0.9)), iou=(0.5, 0.1, 0.8, 0.3)) for low in (0.4, 0.6)
    ]
    (found,) = score(ask(one, repeats=2), Told(*answers))
    assert found.values["predicted_spread"] == pytest.approx(np.std([0.4, 0.6], ddof=1), abs=1e-6)
    assert found.values["oracle_spread"] == found.values["iou_spread"] == pytest.approx(0, abs=1e-6)


def test_validation_costs_no_more_than_it_needs() -> None:
    one = target(0, 0, 16, 20)
    (found,) = score(ask(one), Told(*[reply(halves(0.5, one))] * 3), module.VALIDATION)
    assert list(found.values) == ["object_miou", "iou_spread"] and found.values["object_miou"] == pytest.approx(0.5)


def test_no_more_prompts_at_once_than_memory_bears(monkeypatch: pytest.MonkeyPatch) -> None:
    one = target(0, 0, 16, 20)
    parts = [k / 10 for k in range(1, 9)]
    whole = score(ask(one, repeats=8), Told(*(reply(halves(part, one)) for part in parts)))
    monkeypatch.setattr(module, "AT_ONCE", 3)
    method = Told(*(reply(halves(part, one)) for part in parts))
    assert score(ask(one, repeats=8), method) == whole
    assert [batch.prompts.labels.shape[1] for batch in method.seen if batch.prompts] == [3, 3, 2]


def test_a_picture_without_objects_asks_nothing() -> None:
    assert score(ask(), Told()) == [] and ask().coords.shape[0] == 0


def test_masks_that_are_not_finite_are_an_error() -> None:
    broken = (torch.full((4, SIDE, SIDE), torch.nan), torch.ones(4))
    with pytest.raises(NotFinite, match="try a lower train.lr"):
        score(ask(target(0, 0, 9, 9), repeats=1), Told(broken))


@pytest.mark.parametrize("by", ["point", "box"])
def test_prompts_are_drawn_into_the_picture_where_they_are(by: str) -> None:
    asked = ask(target(10, 20, 22, 40), judged_by=by, judged_jitter=0.0, repeats=1)
    found = asked.shown_on(np.zeros((64, 96, 3), np.uint8))
    assert found.shape == (*SHAPE, 3)
    y, x = np.nonzero(found[..., 0])
    if by == "box":
        assert (y.min(), x.min(), y.max(), x.max()) == (10, 20, 22, 40)
    else:
        middle = asked.coords[0, 0] * SHAPE[1] / asked.valid[1]
        assert np.abs([x.mean() - middle[0], y.mean() - middle[1]]).max() <= 1


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(1, 4))
def test_a_boundary_is_what_lies_near_the_outside(mask: np.ndarray, thick: int) -> None:
    """Chebyshev distance to the nearest pixel outside, the picture's border being outside."""
    padded = np.pad(mask, 1)
    distance = ndimage.distance_transform_cdt(padded, "chessboard")[1:-1, 1:-1]
    assert np.array_equal(boundary(mask, thick), mask & (distance <= thick))


def test_a_boundary_is_two_percent_of_the_diagonal_thick() -> None:
    assert ask(target(0, 0, 9, 9), shape=(300, 400)).thick == 10
    assert ask(target(0, 0, 9, 9), shape=(10, 12)).thick == 1


@given(st.integers(0, 30), st.integers(0, 12), st.text(max_size=4))
def test_as_many_objects_are_measured_as_told(count: int, most: int, name: str) -> None:
    targets = [target(0, 0, 1, 1, category=k) for k in range(count)]
    found = [one.category for one in chosen(targets, PromptSettings(at_most=most), name)]
    assert len(found) == (min(count, most) if most else count)
    assert found == sorted(set(found)), "in their order"
    assert found == [one.category for one in chosen(targets, PromptSettings(at_most=most, repeats=9), name)]


def test_other_pictures_have_others_measured() -> None:
    targets = [target(0, 0, 1, 1, category=k) for k in range(30)]
    drawn = {tuple(one.category for one in chosen(targets, PromptSettings(), str(k))) for k in range(20)}
    assert len(drawn) == 20 and {k for some in drawn for k in some} == set(range(30))


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=1), st.randoms())
def test_a_class_counts_as_much_as_another(rows: list[tuple[int, float]], random: Any) -> None:
    scored = [Scored(k, {"object_miou": v}) for k, v in rows]
    found = means(scored, ["object_miou"])
    assert list(found) == ["object_miou"]
    of_classes = [np.mean([v for k, v in rows if k == one]) for one in {k for k, _ in rows}]
    assert found["object_miou"] == pytest.approx(np.mean(of_classes))
    random.shuffle(scored)
    assert means(scored, ["object_miou"]) == found, "to the last bit"


def test_classes_are_told_by_name_where_all_is_asked_for() -> None:
    def one(category: int, value: float) -> Scored:
        return Scored(category, dict.fromkeys(ALL, value))

    scored = [one(1, 0.2), one(3, 0.8), one(1, 0.4)]
    found = means(scored, ALL, ("background", "nose", "eye"))
    assert {k: v for k, v in found.items() if k not in ALL} == {
        "object_miou[nose]": pytest.approx(0.3),
        "object_miou[3]": pytest.approx(0.8),
    }
    assert set(means(scored, module.VALIDATION, ("background", "nose"))) == set(module.VALIDATION)
    assert set(means(scored[:1], ALL, ("background", "nose"))) == set(ALL), "one class is all of them"
    assert all(math.isnan(value) for value in means([], ALL).values())


def test_what_is_measured_is_known_to_the_leaderboard() -> None:
    assert set(ALL) <= set(METRICS) and set(OBJECTS.metrics) <= set(ALL)
    assert {name for name, one in OBJECT_METRICS.items() if one.mode == "min"} == {n for n in ALL if "spread" in n}
    assert set(module.VALIDATION) <= set(ALL) and OBJECTS.objective in module.VALIDATION


@pytest.fixture(scope="module")
def engine_of(tiny_data: Path) -> Callable[..., tuple[Engine, DataSplit]]:
    """Engines that measure SAM itself by points on the test split of ``tiny``."""
    split = open_dataset(Storage(str(tiny_data)), "tiny").split("test")
    fixed = {"prompts.objects": "always", "train.precision": "fp32"}
    method = build_method(make_settings("sam", "tiny", fixed))

    def make(ranks: Ranks | None = None, **changes: object) -> tuple[Engine, DataSplit]:
        changes = {key.replace("_", ".", 1): value for key, value in changes.items()}
        asked = make_settings("sam", "tiny", fixed | changes)
        return Engine(asked, method, split, torch.device("cpu"), ranks or Ranks(), Apart()), split

    return make


def test_a_split_is_measured_object_by_object(engine_of: Callable[..., tuple[Engine, DataSplit]]) -> None:
    """As its pictures are alone, whatever they share a batch with."""
    engine, split = engine_of(train_batch=3)
    found = evaluate_objects(engine, split, 2, ALL)
    scored = []
    for row in range(len(split)):
        one, part = engine_of(train_batch=1)
        truth = part.truth(row)
        (batch,) = one.loader(part, [(np.array([row]), np.ones(1, np.float32))], 0, train=False)
        targets = objects_of(truth)
        asked = Questions(batch, targets, truth.mask.shape, truth.id, one.settings.prompts, 2)
        with torch.inference_mode():
            scored += list(asked.scored(one.method, one.method.embedding(batch), ALL))
    assert len(scored) >= len(split)
    assert found == pytest.approx(means(scored, ALL), abs=0.005)
    assert found["object_miou"] > 0 and found["iou_spread"] > 0


class Turns(Ranks):
    """A rank of two that takes turns: what it would gather from the other is what that one left."""

    left: ClassVar[dict[int, Any]] = {}

    def gather(self, value: Any) -> list[Any]:
        self.left[self.rank] = value
        return [self.left[rank] for rank in sorted(self.left)]


def test_two_ranks_measure_what_one_does(engine_of: Callable[..., tuple[Engine, DataSplit]]) -> None:
    engine, split = engine_of(train_batch=1)
    alone = evaluate_objects(engine, split, 2, module.VALIDATION)
    for rank in (1, 0):
        engine.ranks = Turns(rank, 2)
        both = evaluate_objects(engine, split, 2, module.VALIDATION)
    assert both == alone
    assert [len(Turns.left[rank]) for rank in (0, 1)] == [len(split) // 2] * 2
    engine, _ = engine_of(Turns(1, 2), train_batch=len(split))
    evaluate_objects(engine, split, 2, module.VALIDATION)
    assert Turns.left[1] == {}, "what only keeps the ranks in step is not measured"


class Asked:
    """In the place of ``Questions``: notes what is asked for, by picture."""

    noted: ClassVar[dict[str, list[int]]] = {}

    def __init__(self, image: Batch, targets: list[Target], shape: object, name: str, *more: object) -> None:
        assert len(image) == 1
        self.noted[name] = [one.category for one in targets]

    def scored(self, *more: object) -> list[Scored]:
        return []


def test_some_objects_of_each_picture_are_asked_for_and_no_background(
    engine_of: Callable[..., tuple[Engine, DataSplit]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.repeat(np.arange(8, dtype=np.uint8)[None], 24, axis=0).repeat(4, axis=1)
    with DatasetWriter(Storage(str(tmp_path)), "own") as writer:
        for i in range(3):
            writer.add("test", Row(f"r{i}", "", encode(picture(i)), encode(labels), 24, 32, 0, "", coding="classes"))
        writer.commit(task="parts", layout="folders", split_rule="")
    engine, _ = engine_of(prompts_at_most=3)
    engine.apart = Apart(frozenset({0, 5}))
    split = open_dataset(Storage(str(tmp_path)), "own").split("test")
    monkeypatch.setattr(module, "Questions", Asked)
    monkeypatch.setattr(Asked, "noted", {})
    evaluate_objects(engine, split, 2, module.VALIDATION)
    those = objects_of(split.truth(0), left_out=engine.apart.left_out)
    assert [one.category for one in those] == [1, 2, 3, 4, 6, 7]
    for name in ("r0", "r1", "r2"):
        assert Asked.noted[name] == [one.category for one in chosen(those, engine.settings.prompts, name)]
    assert len(Asked.noted["r0"]) == 3 and len({tuple(found) for found in Asked.noted.values()}) > 1
