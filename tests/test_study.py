"""Optuna's study behind Tune tells the truth about every way in which a trial can end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from orchestrator.config import make_settings
from orchestrator.errors import UserError
from orchestrator.sampler import Lesson
from orchestrator.space import TRIAL, Space, chosen_settings
from orchestrator.study import Ended, Past, StudySearch, epochs_of, startup_trials
from orchestrator.warm import WarmPoint

STUDY = "decoder/tiny/vit_t/x"
SETTINGS = make_settings("decoder", "x")


def search(
    folder: Path, seed: int = 0, mode: str = "max", ended: Mapping[str, Ended] | None = None, trials: int = 6
) -> StudySearch:
    return StudySearch(Space(SETTINGS, {}), mode, STUDY, folder / "study.journal", seed, trials=trials, ended=ended)


def stored(folder: Path) -> dict[str, optuna.trial.FrozenTrial]:
    """The trials as another process would read them, by name."""
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    study = optuna.load_study(study_name=STUDY, storage=storage)
    return {f"{t.number:03d}": t for t in study.trials}


def begin(s: StudySearch, tune_id: str) -> dict[str, Any]:
    """What a trial is told, all of it."""
    choices = s.suggest(tune_id)
    assert choices is not None
    return choices


def play(s: StudySearch, tune_id: str, best: float, epochs: int = 3) -> dict[str, Any]:
    """A whole trial: epochs, row, end. Returns what it was told."""
    choices = begin(s, tune_id)
    for epoch in range(1, epochs + 1):
        s.on_trial_result(tune_id, {"best": best * epoch / epochs, "epoch": epoch, "training_iteration": 99})
    s.on_trial_complete(tune_id, {"best": best, "epoch": epochs})
    s.tell(choices[TRIAL], Ended("completed" if epochs == 3 else "pruned", best))
    return choices


def test_every_end_has_its_state(tmp_path: Path) -> None:
    s = search(tmp_path)
    ends = {"completed": 0.3, "pruned": 0.05, "nan": math.nan, "failed": math.nan, "failed late": 0.1, "stopped": 0.1}
    for number, (status, best) in enumerate(ends.items()):
        told = begin(s, status)
        assert set(told) == {"train.lr", "train.weight_decay", "method.iou_weight", TRIAL}
        assert told[TRIAL] == f"{number:03d}" and TRIAL not in chosen_settings(told)
        last = {"best": best, "epoch": 1, "training_iteration": 99}
        if status != "pruned":  # Tune does not tell the last result of what is stopped but by its end
            s.on_trial_result(status, last)
        s.on_trial_complete(status, last, error=status.startswith("failed"))
        assert stored(tmp_path)[told[TRIAL]].state == TrialState.RUNNING, "until its row is written"
        s.tell(told[TRIAL], Ended({"nan": "completed", "failed late": "failed"}.get(status, status), best))
    states = [trial.state.name for trial in stored(tmp_path).values()]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "FAIL", "FAIL", "RUNNING"]
    assert stored(tmp_path)["000"].value == pytest.approx(0.3)
    assert stored(tmp_path)["001"].intermediate_values == {1: 0.05} and not stored(tmp_path)["002"].intermediate_values


def test_the_seed_decides(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    one, same, other = search(tmp_path / "a", 1), search(tmp_path / "b", 1), search(tmp_path / "c", 2)
    drawn = [[s.suggest(str(i)) for i in range(3)] for s in (one, same, other)]
    assert drawn[0] == drawn[1] != drawn[2] and drawn[0][1] != drawn[0][2]


def test_the_defaults_come_first(tmp_path: Path) -> None:
    s = search(tmp_path)
    assert SETTINGS.replace(chosen_settings(begin(s, "first"))) == SETTINGS
    assert SETTINGS.replace(chosen_settings(begin(s, "second"))) != SETTINGS


def test_a_smaller_metric_can_be_better(tmp_path: Path) -> None:
    s = search(tmp_path, mode="min")
    play(s, "x", 3.0)
    study = optuna.load_study(
        study_name=STUDY, storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    )
    assert study.direction == optuna.study.StudyDirection.MINIMIZE and study.best_value == 3.0


def test_tune_gets_an_empty_file_where_it_saves_its_searcher(tmp_path: Path) -> None:
    """It does so every few seconds, whatever the study's size; what is gone on with is the journal."""
    s = search(tmp_path)
    s.suggest("x")
    s.save(str(tmp_path / "state.pkl"))
    assert (tmp_path / "state.pkl").read_bytes() == b"" and (tmp_path / "study.journal").stat().st_size > 0


def test_what_was_begun_comes_back_first(tmp_path: Path) -> None:
    s = search(tmp_path)
    play(s, "a", 0.3)
    told = [begin(s, "b"), begin(s, "c")]
    s.on_trial_result("b", {"best": 0.1, "epoch": 1})
    again = search(tmp_path, ended={"000": Ended("completed", 0.3)})
    over, begun = again.before()
    assert over == [Past("000", pytest.approx({1: 0.1, 2: 0.2, 3: 0.3}))]  # type: ignore[arg-type]
    assert begun == [Past("001", {1: 0.1}), Past("002", {})]
    assert [begin(again, "x"), begin(again, "y")] == told, "the same parameters, the same names"
    assert begin(again, "z")[TRIAL] == "003"
    for epoch in (1, 2):  # the first is told again
        again.on_trial_result("x", {"best": 0.1 * epoch, "epoch": epoch})
    assert stored(tmp_path)["001"].intermediate_values == pytest.approx({1: 0.1, 2: 0.2})
    assert len(stored(tmp_path)) == 4


def test_a_row_counts_though_the_study_was_not_told(tmp_path: Path) -> None:
    s = search(tmp_path)
    for name in "abcd":
        begin(s, name)
    ended = {
        "000": Ended("completed", 0.5),
        "001": Ended("pruned", 0.2),
        "002": Ended("failed", math.nan),
    }
    again = search(tmp_path, ended=ended)
    states = [trial.state.name for trial in stored(tmp_path).values()]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "RUNNING"] and stored(tmp_path)["000"].value == 0.5
    assert begin(again, "x")[TRIAL] == "003"


def test_a_row_that_the_study_does_not_know_is_said(tmp_path: Path) -> None:
    play(search(tmp_path), "a", 0.5)
    with pytest.raises(UserError, match="study.journal: does not know trial 007, which has a result"):
        search(tmp_path, ended={"000": Ended("completed", 0.5), "007": Ended("pruned", 0.1)})


def test_a_trial_whose_row_is_gone_runs_again(tmp_path: Path) -> None:
    """As `damaged result; remove that trial's folder` advises."""
    told = play(search(tmp_path), "a", 0.5)
    again = search(tmp_path)
    assert play(again, "x", 0.6) == told and begin(again, "y")[TRIAL] == "001"
    assert stored(tmp_path)["000"].value == 0.5, "what was told stays told"


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_resumed_study_suggests_what_an_undisturbed_one_does(tmp_path: Path, cut: int) -> None:
    bests = [0.3, 0.5, 0.1, 0.4, 0.2, 0.6, 0.35]
    (tmp_path / "calm").mkdir()
    (tmp_path / "cut").mkdir()
    calm = search(tmp_path / "calm", trials=7)
    expected = [play(calm, str(i), best, epochs=3 - i % 2) for i, best in enumerate(bests)]
    first = search(tmp_path / "cut", trials=7)
    told = [play(first, str(i), best, epochs=3 - i % 2) for i, best in enumerate(bests[:cut])]
    rows = {t[TRIAL]: Ended("pruned" if i % 2 else "completed", bests[i]) for i, t in enumerate(told)}
    second = search(tmp_path / "cut", ended=rows, trials=7)
    told += [play(second, str(i), bests[i], epochs=3 - i % 2) for i in range(cut, len(bests))]
    assert told == expected


def test_no_point_is_enqueued_twice(tmp_path: Path) -> None:
    space = Space(make_settings("sam", "x"), {})
    points = space.all_points()
    assert points and len(points) > 1

    def sam() -> StudySearch:
        return StudySearch(space, "max", STUDY, tmp_path / "study.journal", 0, trials=len(points))

    begin(sam(), "a")
    s = sam()
    drawn = [chosen_settings(begin(s, str(i))) for i in range(len(points))]
    assert len(stored(tmp_path)) == len(points) == len({json.dumps(d, sort_keys=True) for d in drawn})


def test_a_study_cut_short_between_two_points_gets_the_rest(tmp_path: Path) -> None:
    """A kill in the middle of the first enqueuing."""
    space = Space(make_settings("sam", "x"), {})
    StudySearch(space, "max", STUDY, tmp_path / "study.journal", 0, trials=9)
    lines = (tmp_path / "study.journal").read_bytes().splitlines(keepends=True)
    (tmp_path / "study.journal").write_bytes(b"".join(lines[:-1]))
    StudySearch(space, "max", STUDY, tmp_path / "study.journal", 0, trials=9)
    assert len(stored(tmp_path)) == len(space.all_points() or ())


def test_a_torn_line_and_a_lock_left_behind_are_mended(tmp_path: Path) -> None:
    told = play(search(tmp_path), "a", 0.5)
    journal = tmp_path / "study.journal"
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"wor')
    (tmp_path / "study.journal.lock").symlink_to(journal)
    again = search(tmp_path, ended={told[TRIAL]: Ended("completed", 0.5)})
    assert begin(again, "x")[TRIAL] == "001" and stored(tmp_path)["000"].value == 0.5


WARM = [
    WarmPoint("other", "003", {"train.lr": 1e-3, "train.weight_decay": 0.02, "method.iou_weight": 2.0}),
    WarmPoint("other", "001", {"train.lr": 2e-3, "train.weight_decay": 0.03, "method.iou_weight": 1.0}),
]

LESSONS = [
    Lesson("other", f"{i:03d}", {"train.lr": 1e-3 * (1 + i), "method.iou_weight": 1 / (1 + i)}, good=not i)
    for i in range(4)
]


def warm_search(folder: Path, ended: Mapping[str, Ended] | None = None) -> StudySearch:
    journal = folder / "study.journal"
    return StudySearch(Space(SETTINGS, {}), "max", STUDY, journal, 0, trials=6, ended=ended, warm=WARM, lessons=LESSONS)


def test_warm_points_come_after_the_defaults_and_tell_their_source(tmp_path: Path) -> None:
    s = warm_search(tmp_path)
    told = [begin(s, str(i)) for i in range(4)]
    assert SETTINGS.replace(chosen_settings(told[0])) == SETTINGS
    assert [chosen_settings(choices) for choices in told[1:3]] == [point.point for point in WARM]
    assert chosen_settings(told[3]) not in [point.point for point in WARM]
    sources = [trial.user_attrs.get("warm") for trial in stored(tmp_path).values()]
    assert sources == [None, "other/003", "other/001", None]


@pytest.mark.parametrize("cut", range(5))
def test_a_resumed_search_keeps_what_it_knows_from_others(tmp_path: Path, cut: int) -> None:
    bests = [0.3, 0.5, 0.1, 0.4, 0.2]
    for name in ("calm", "cut"):
        (tmp_path / name).mkdir()
    calm = warm_search(tmp_path / "calm")
    expected = [play(calm, str(i), best) for i, best in enumerate(bests)]
    first = warm_search(tmp_path / "cut")
    told = [play(first, str(i), best) for i, best in enumerate(bests[:cut])]
    rows = {t[TRIAL]: Ended("completed", bests[i]) for i, t in enumerate(told)}
    second = warm_search(tmp_path / "cut", rows)
    told += [play(second, str(i), bests[i]) for i in range(cut, len(bests))]
    assert told == expected and len(stored(tmp_path / "cut")) == len(bests)


@pytest.mark.parametrize(("trials", "known", "expected"), [(3, 0, 2), (30, 0, 10), (60, 0, 10), (30, 4, 1), (6, 1, 1)])
def test_what_is_known_takes_the_place_of_random_trials(trials: int, known: int, expected: int) -> None:
    assert startup_trials(trials, known) == expected


def costly(folder: Path, ended: Mapping[str, Ended] | None = None) -> StudySearch:
    objectives = ("quality", "seconds", "trained_parameters")
    space = Space(SETTINGS, {})
    return StudySearch(space, "max", STUDY, folder / "study.journal", 0, trials=4, ended=ended, objectives=objectives)


def test_several_objectives_have_their_ends_and_a_front(tmp_path: Path) -> None:
    s = costly(tmp_path)
    ends = [("completed", 0.5, 9.0), ("completed", 0.4, 5.0), ("completed", 0.3, 7.0), ("failed", math.nan, 0.0)]
    for number, (status, best, seconds) in enumerate([*ends, ("pruned", 0.1, 1.0), ("completed", 0.6, math.nan)]):
        told = begin(s, str(number))
        s.on_trial_result(str(number), {"best": best, "epoch": 1})
        s.on_trial_complete(str(number), {"best": best, "epoch": 1})
        s.tell(told[TRIAL], Ended(status, best, (seconds, 10.0)))
    trials = stored(tmp_path)
    assert [t.state.name for t in trials.values()] == ["COMPLETE"] * 3 + ["FAIL", "PRUNED", "FAIL"]
    assert trials["000"].values == [0.5, 9.0, 10.0]
    study = optuna.load_study(
        study_name=STUDY, storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    )
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert [t.number for t in study.best_trials] == [0, 1]


def test_several_objectives_go_on_where_they_were(tmp_path: Path) -> None:
    s = costly(tmp_path)
    told = [begin(s, name) for name in "ab"]
    for epoch in (1, 2):
        s.on_trial_result("b", {"best": 0.1 * epoch, "epoch": epoch})
    s.tell("000", Ended("completed", 0.5, (3.0, 10.0)))
    again = costly(tmp_path, {"000": Ended("completed", 0.5, (3.0, 10.0))})
    over, begun = again.before()
    assert over == [Past("000", {})] and begun == [Past("001", {1: 0.1, 2: 0.2})]
    assert begin(again, "x") == told[1] and begin(again, "y")[TRIAL] == "002"
    again.on_trial_result("x", {"best": 0.9, "epoch": 2})
    again.on_trial_result("x", {"best": 0.3, "epoch": 3})
    assert epochs_of(stored(tmp_path)["001"]) == {1: 0.1, 2: 0.2, 3: 0.3}
