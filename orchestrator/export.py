"""The leaderboard for a paper: csv with a line for each entry, Markdown and LaTeX in the layout of the papers' tables.

A paper's table has a row for each method and, side by side, the metrics of every data set of one kind. So there is a
table for each kind of task and way of judging; stand-ins stand apart. The best own number of a column is bold,
published ones are marked. Where settings were run with more seeds, a number is mean ± standard deviation.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.data.tasks import TASKS
from orchestrator.leaderboard import STAND_IN, backbone_label, method_label, method_title, number, published_for
from orchestrator.metrics import METRICS

KIND = ("stand_in", "task", "judged")


@dataclass(frozen=True)
class Cell:
    """A number of one method on one data set; ``value`` and ``std`` as they are, ``text`` as it is shown."""

    value: float | None = None
    std: float | None = None
    unit: str = ""
    best: bool = False

    def text(self, plus_minus: str) -> str:
        if self.value is None:
            return "-"
        return number(self.value, self.unit) + ("" if self.std is None else plus_minus + number(self.std, self.unit))


@dataclass(frozen=True)
class Line:
    """A method's row: a cell for each column of its table."""

    name: str
    published: bool
    cells: list[Cell]


@dataclass(frozen=True)
class PaperTable:
    """``columns``: (data set, metric), those of a data set side by side."""

    title: str
    columns: list[tuple[str, str]]
    lines: list[Line]


def export(entries: Sequence[dict[str, Any]], kind: str) -> str:
    """The entries of ``leaderboard`` as text: ``csv``, ``md`` or ``latex``."""
    if kind == "csv":
        return _csv(entries)
    write = {"md": _markdown, "latex": _latex}[kind]
    return "\n".join(write(table) for table in paper_tables(entries))


def paper_tables(entries: Sequence[dict[str, Any]]) -> list[PaperTable]:
    """A table for each kind of task and way of judging, stand-ins apart."""
    kinds: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for entry in entries:
        kinds.setdefault(tuple(entry[name] for name in KIND), []).append(entry)
    return [_table(kinds[key], *key) for key in sorted(kinds)]


def _table(own: Sequence[dict[str, Any]], stand_in: bool, task: str, judged: str) -> PaperTable:
    datasets = sorted({entry["dataset"] for entry in own})
    columns = [(dataset, metric) for dataset in datasets for metric in TASKS[task].metrics]
    numbers: dict[tuple[str, bool], dict[tuple[str, str], Cell]] = {}
    for entry in own:  # best first: another fingerprint of the same data set gives way
        row = numbers.setdefault((f"{method_label(entry['method'])} ({backbone_label(entry)})", False), {})
        for metric in TASKS[task].metrics:
            row.setdefault((entry["dataset"], metric), _cell(entry, metric))
    for told in published_for(datasets):
        given = {(told["dataset"], m): Cell(v, unit=METRICS[m].unit) for m, v in told["test"].items() if m in METRICS}
        if shown := {key: cell for key, cell in given.items() if key in columns}:
            numbers.setdefault((method_title(told["method"]), True), {}).update(shown)
    best = {column: _best(column[1], (r.get(column) for (_, p), r in numbers.items() if not p)) for column in columns}
    lines = [
        Line(name, published, [_marked(row.get(c, Cell()), best[c], published) for c in columns])
        for (name, published), row in numbers.items()
    ]
    words = ", ".join(filter(None, (task, judged)))
    return PaperTable(words + f" ({STAND_IN}: not comparable with the papers)" * stand_in, columns, lines)


def _cell(entry: dict[str, Any], metric: str) -> Cell:
    values = entry["mean"] if entry["n"] else entry["test"]
    std = entry["std"].get(metric) if entry["n"] else None
    return Cell(values.get(metric), std, METRICS[metric].unit)


def _best(metric: str, cells: Iterable[Cell | None]) -> float | None:
    values = [c.value for c in cells if c and c.value is not None and math.isfinite(c.value)]
    if not values:
        return None
    return max(values) if METRICS[metric].mode == "max" else min(values)


def _marked(cell: Cell, best: float | None, published: bool) -> Cell:
    is_best = not published and best is not None and cell.value == best
    return Cell(cell.value, cell.std, cell.unit, best=is_best)


def _csv(entries: Sequence[dict[str, Any]]) -> str:
    """A line for each entry, own and published; unrounded numbers, empty where there is none."""
    metrics = [m for m in METRICS if any(m in e["test"] for e in entries)]
    own = ("dataset", "stand_in", "task", "judged", "method", "backbone", "trials", "n", "run", "trial")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    stds = [f"{m}_std" for m in metrics]
    writer.writerow([*own, "published", "source", *(name for pair in zip(metrics, stds, strict=True) for name in pair)])
    for entry in entries:
        cells = [_cell(entry, m) for m in metrics]
        numbers = [value for cell in cells for value in (cell.value, cell.std)]
        writer.writerow([*(entry[name] for name in own), False, "", *numbers])
    for told in published_for(sorted({e["dataset"] for e in entries})):
        numbers = [value for m in metrics for value in (told["test"].get(m), None)]
        about = {"dataset": told["dataset"], "method": told["method"]}
        if any(value is not None for value in numbers):
            writer.writerow([*(about.get(name, "") for name in own), True, told["source"], *numbers])
    return out.getvalue()


def _markdown(table: PaperTable) -> str:
    labels = [f"{dataset} {METRICS[metric].label}{_arrow(metric, '↑', '↓')}" for dataset, metric in table.columns]
    lines = [f"**{table.title}**", "", f"| method | {' | '.join(labels)} |", "|---" * (len(labels) + 1) + "|"]
    for line in table.lines:
        name = f"*{line.name} (published)*" if line.published else line.name
        cells = [f"**{c.text(' ± ')}**" if c.best else c.text(" ± ") for c in line.cells]
        lines.append(f"| {name.replace('|', '/')} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _latex(table: PaperTable) -> str:
    """A ``tabular`` for booktabs, data sets over their metrics."""
    datasets = list(dict.fromkeys(dataset for dataset, _ in table.columns))
    count = len(table.columns) // len(datasets)
    heads = [rf"\multicolumn{{{count}}}{{c}}{{{_escaped(dataset)}}}" for dataset in datasets]
    labels = [_escaped(METRICS[m].label) + _arrow(m, r" $\uparrow$", r" $\downarrow$") for _, m in table.columns]
    rules = [rf"\cmidrule(lr){{{2 + i * count}-{1 + (i + 1) * count}}}" for i in range(len(datasets))]
    lines = [
        f"% {table.title}; needs \\usepackage{{booktabs}}",
        rf"\begin{{tabular}}{{l{'c' * len(table.columns)}}}",
        r"\toprule",
        " & ".join(["", *heads]) + r" \\",
        "".join(rules),
        " & ".join(["Method", *labels]) + r" \\",
        r"\midrule",
    ]
    own = [line for line in table.lines if not line.published]
    lines += [_latex_line(line) for line in table.lines if line.published]
    if len(own) < len(table.lines):
        lines.append(r"\midrule")
    lines += [_latex_line(line) for line in own]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _latex_line(line: Line) -> str:
    name = rf"\textit{{{_escaped(line.name)} (published)}}" if line.published else _escaped(line.name)
    shown = [cell.text(r" $\pm$ ") for cell in line.cells]
    bold = [rf"\textbf{{{text}}}" if cell.best else text for cell, text in zip(line.cells, shown, strict=True)]
    return " & ".join([name, *bold]) + r" \\"


def _arrow(metric: str, up: str, down: str) -> str:
    return up if METRICS[metric].mode == "max" else down


def _escaped(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, "\\" + c if c in "&%$#_{}" else c) for c in text)
