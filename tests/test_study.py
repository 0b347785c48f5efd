"""Optuna's study behind Tune tells the truth about every way in which a trial can end."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from orchestrator.config import make_settings
from orchestrator.space import Space
from orchestrator.study import StudySearch

STUDY = "decoder/tiny/vit_t/x"
SETTINGS = make_settings("decoder", "x")


def search(folder: Path, seed: int = 0, mode: str = "max") -> StudySearch:
    return StudySearch(Space(SETTINGS, {}), mode, STUDY, folder / "study.journal", seed, epochs=3, trials=6)


def stored(folder: Path) -> dict[str, optuna.trial.FrozenTrial]:
    """The trials as another process would read them, by our trial id."""
    storage = JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    study = optuna.load_study(study_name=STUDY, storage=storage)
    return {t.user_attrs.get("trial", str(t.number)): t for t in study.trials}


def test_every_end_has_its_state(tmp_path: Path) -> None:
    s = search(tmp_path)
    for name in ("whole", "cut", "nan", "died", "silent"):
        assert set(s.suggest(name)) == {"train.lr", "train.weight_decay", "method.iou_weight"}
    for epoch in (1, 2, 3):
        s.on_trial_result("whole", {"best": 0.1 * epoch, "epoch": epoch, "training_iteration": 99})
    s.on_trial_complete("whole", {"best": 0.3, "epoch": 3})
    s.on_trial_result("cut", {"best": 0.05, "epoch": 1})
    s.on_trial_complete("cut", {"best": 0.05, "epoch": 1})
    s.on_trial_result("nan", {"best": math.nan, "epoch": 1})
    s.on_trial_complete("nan", {"best": math.nan, "epoch": 3})
    s.on_trial_complete("died", error=True)
    s.on_trial_complete("silent", None)
    trials = stored(tmp_path)
    assert trials["whole"].state == TrialState.COMPLETE and trials["whole"].value == pytest.approx(0.3)
    assert trials["whole"].intermediate_values == pytest.approx({1: 0.1, 2: 0.2, 3: 0.3}), "steps are epochs"
    assert trials["cut"].state == TrialState.PRUNED and trials["cut"].intermediate_values == {1: 0.05}
    assert {trials[n].state for n in ("nan", "died", "silent")} == {TrialState.FAIL}


def test_the_seed_decides(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    one, same, other = search(tmp_path / "a", 1), search(tmp_path / "b", 1), search(tmp_path / "c", 2)
    drawn = [[s.suggest(str(i)) for i in range(3)] for s in (one, same, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_defaults_come_first(tmp_path: Path) -> None:
    s = search(tmp_path)
    assert SETTINGS.replace(s.suggest("first")) == SETTINGS
    assert SETTINGS.replace(s.suggest("second")) != SETTINGS


def test_a_smaller_metric_can_be_better(tmp_path: Path) -> None:
    s = search(tmp_path, mode="min")
    s.suggest("x")
    s.on_trial_complete("x", {"best": 3.0, "epoch": 3})
    study = optuna.load_study(
        study_name=STUDY, storage=JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    )
    assert study.direction == optuna.study.StudyDirection.MINIMIZE and study.best_value == 3.0


def test_it_can_be_saved(tmp_path: Path) -> None:
    """Tune pickles its searcher every few seconds."""
    s = search(tmp_path)
    s.suggest("x")
    s.save(str(tmp_path / "state.pkl"))
    again = pickle.loads((tmp_path / "state.pkl").read_bytes())
    assert again["_study_name"] == STUDY
