"""The leaderboard as csv, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.export import export, paper_tables
from orchestrator.leaderboard import published_for


def entry(method: str, dataset: str, test: dict[str, float], **more: Any) -> dict[str, Any]:
    task = "shadow" if "ber" in test else "camouflage"
    own = {"dataset": dataset, "stand_in": False, "task": task, "judged": "", "method": method, "backbone": "vit_b"}
    rest = {
        "backbone_random": False,
        "test": test,
        "n": 0,
        "mean": {},
        "std": {},
        "trials": 4,
        "run": "r",
        "trial": "1",
    }
    return {**own, **rest, **more}


def numbers(s: float, mae: float) -> dict[str, float]:
    return {"s_measure": s, "e_measure": s, "weighted_f": s, "mae": mae}


@pytest.fixture
def entries() -> list[dict[str, Any]]:
    seeds = {"n": 3, "mean": numbers(0.8, 0.025), "std": numbers(0.01, 0.001)}
    return [
        entry("mca", "cod10k", numbers(0.81, 0.02), **seeds),
        entry("decoder", "cod10k", numbers(0.7, 0.03)),
        entry("mca", "camo", numbers(0.75, 0.05)),
        entry("sam_adapter", "camo", numbers(0.75, 0.04), backbone_random=True),
        entry("mca", "istd", {"ber": 1.5}),
        entry("mca", "cod10k", numbers(0.99, 0.001), stand_in=True),
    ]


def test_a_table_has_a_row_for_each_method_and_data_sets_side_by_side(entries: list[dict[str, Any]]) -> None:
    camouflage, shadow, stand_in = paper_tables(entries)
    assert [dataset for dataset, _ in camouflage.columns] == ["camo"] * 4 + ["cod10k"] * 4
    rows = {line.name: line for line in camouflage.lines}
    mca = rows["mca (vit_b)"]
    assert [c.value for c in mca.cells] == [0.75, 0.75, 0.75, 0.05, 0.8, 0.8, 0.8, 0.025]
    assert [c.best for c in mca.cells] == [True] * 3 + [False] + [True] * 4, "equal ones are both the best; MAE falls"
    assert [c.best for c in rows["sam_adapter (vit_b (random))"].cells] == [True] * 4 + [False] * 4
    assert rows["decoder (vit_b)"].cells[0].value is None
    assert any(line.published and not any(c.best for c in line.cells) for line in camouflage.lines)
    assert shadow.columns == [("istd", "ber")] and "STAND-IN" in stand_in.title and len(stand_in.lines) > 1


def test_markdown(entries: list[dict[str, Any]]) -> None:
    text = export(entries, "md")
    first = text.split("\n\n")[1].splitlines()
    assert first[0].startswith("| method | camo S↑ | camo E↑ | camo wF↑ | camo MAE↓ | cod10k S↑ |")
    assert "| mca (vit_b) | **0.750** |" in text and "**0.800 ± 0.010**" in text and "(published)*" in text
    assert all(line.count("|") == first[0].count("|") for line in first if line.startswith("|"))
    assert text.count("STAND-IN: not comparable") == 1


def test_latex_is_a_tabular_for_booktabs(entries: list[dict[str, Any]]) -> None:
    text = export(entries, "latex")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    table = text.split(r"\end{tabular}")[0]
    assert r"\begin{tabular}{lcccccccc}" in table and r"\multicolumn{4}{c}{cod10k}" in table
    assert r"\cmidrule(lr){2-5}\cmidrule(lr){6-9}" in table and r"\textbf{0.800 $\pm$ 0.010}" in table
    assert r"sam\_adapter (vit\_b (random)) & \textbf{0.750}" in table and r"MAE $\downarrow$" in table
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert all(line.count(" & ") == 8 for line in rows[1:]) and len(rows) > 4


def test_csv_has_every_number_unrounded(entries: list[dict[str, Any]]) -> None:
    lines = list(csv.DictReader(io.StringIO(export(entries, "csv"))))
    own = [line for line in lines if line["published"] == "False"]
    assert len(own) == len(entries) and float(own[0]["s_measure"]) == 0.8 and float(own[0]["mae_std"]) == 0.001
    assert own[1]["s_measure_std"] == "" and own[4]["s_measure"] == "" and own[4]["ber"] == "1.5"
    told = [line for line in lines if line["published"] == "True"]
    assert {line["dataset"] for line in told} <= {"camo", "cod10k", "istd"} and all(line["source"] for line in told)
    assert len(told) <= len(published_for(["camo", "cod10k", "istd"])) and told


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "--storage", str(tmp_path), "--export", "md"]) == 2
    assert "no completed trial to export" in capsys.readouterr().err
    assert main(["leaderboard", "--storage", str(tmp_path), "--export", "md", "--json"]) == 2
    assert "--export md: there is --json too" in capsys.readouterr().err
