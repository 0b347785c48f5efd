"""ISTD and SBU."""

from __future__ import annotations

from orchestrator.data.layouts.folders import Pairs, Part

ISTD = Pairs(
    "istd",
    "train/ with train_A/ and train_B/, and test/ with test_A/ and test_B/",
    coding="binary",
    forms=(
        (
            Part("train", ("train/train_A",), ("train/train_B",)),
            Part("test", ("test/test_A",), ("test/test_B",)),
        ),
    ),
    rule="the official split (train, test)",
    scenes=True,
)

SBU = Pairs(
    "sbu",
    "SBUTrain4KRecoveredSmall/ and SBU-Test/, each with ShadowImages/ and ShadowMasks/",
    coding="binary",
    forms=(
        (
            Part("train", ("SBUTrain4KRecoveredSmall/ShadowImages",), ("SBUTrain4KRecoveredSmall/ShadowMasks",)),
            Part("test", ("SBU-Test/ShadowImages",), ("SBU-Test/ShadowMasks",)),
        ),
    ),
    rule="the official split (SBUTrain4KRecoveredSmall, SBU-Test)",
)
