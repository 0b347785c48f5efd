"""The best of every method on every dataset, beside what is published."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table

from methods import registry
from orchestrator.config import with_new_settings
from orchestrator.data.published import PUBLISHED
from orchestrator.data.tasks import TASKS
from orchestrator.metrics import METRICS
from orchestrator.noise import LEVEL, Spread, spread, within_noise
from orchestrator.objectives import COSTS
from orchestrator.results import SEARCH, SEED

STAND_IN = "STAND-IN"
#: What two trials must share to be comparable: another fingerprint is another data set, whatever its name, and
#: whole images are not judged as objects are, nor one prompt as another.
COMPARABLE = ("dataset", "stand_in", "data_fingerprint", "task", "judged")
GROUP = (*COMPARABLE, "method", "backbone", "chosen_on")
#: What a table has.
TABLE = ("dataset", "stand_in", "task", "judged")
#: Behind a number that seeds alone may tell from the best one.
ALIKE = "≈"


def leaderboard(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each dataset (stand-in or not), way of judging, method and backbone: its best completed trial.

    The trial is chosen by the split that its sweep chose on; ``test`` is what it then reached on the test
    split. Where its settings were run with more seeds, ``mean`` and ``std`` (of the sample) of their tests, and
    ``n``, how many there are; ``within_noise`` says whether the best entry of the data set can be told apart
    from it. Entries are sorted by dataset, then best first. Replays count nowhere.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        row = {**row, "judged": judged(row)}
        groups.setdefault(tuple(row[name] for name in GROUP), []).append(row)
    entries = [entry for group in groups.values() if (entry := _entry(group)) is not None]
    order = {name: sign(TASKS[e["task"]].mode) for e in entries for name in [e["objective"]]}
    entries.sort(key=lambda e: (*(e[name] for name in TABLE), order[e["objective"]] * _value(e)))
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for entry in entries:
        first = best.setdefault(tuple(entry[name] for name in COMPARABLE), entry)
        entry["within_noise"] = None if first is entry else _within_noise(first, entry)
    return entries


def judged(row: dict[str, Any]) -> str:
    """The prompts that a trial is judged by, in words; '' where whole images are judged."""
    if not TASKS[row["task"]].per_object:
        return ""
    s = with_new_settings(row["settings"])
    by = "a point" if s["prompts.judged_by"] == "point" else f"a box that is off by {s['prompts.judged_jitter']:g}"
    most = f"{s['prompts.at_most']} objects an image" if s["prompts.at_most"] else "all objects"
    return ", ".join(filter(None, (s["prompts.classes"], f"prompted by {by}", f"{s['prompts.repeats']} times", most)))


def _entry(group: list[dict[str, Any]]) -> dict[str, Any] | None:
    searched = [r for r in group if r["role"] == SEARCH]
    done = [r for r in searched if r["status"] == "completed" and r["test"]]
    if not done:
        return None
    best = min(done, key=lambda r: rank(TASKS[r["task"]].mode, r["best"], f"{r['run']}/{r['trial']}"))
    kept = (*GROUP, "objective", "best", "test")
    return {
        **{name: best[name] for name in kept},
        "run": best["run"],
        "trial": best["trial"],
        "trials": len(searched),
        "failed": sum(r["status"] == "failed" for r in searched),
        "trained_parameters": best["trained_parameters"],
        "seed": best["seed"],
        "backbone_random": best["backbone_random"],
        **_over_seeds([r for r in group if r["role"] == SEED and _but_seed(r) == _but_seed(best)]),
    }


def _but_seed(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in with_new_settings(row["settings"]).items() if key != "train.seed"}


def _over_seeds(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and spread of the tests of the seeds that completed."""
    # under two names of a run, a seed gave the same twice: it counts once
    done = {r["seed"]: r["test"] for r in rows if r["status"] == "completed" and r["test"]}
    return {**spreads(list(done.values())), "seeds_failed": sum(r["status"] == "failed" for r in rows)}


def spreads(tests: Sequence[dict[str, float]]) -> dict[str, Any]:
    """How many tests there are (``n``), and ``mean`` and ``std`` of each of their metrics (None of a single one)."""
    found = {name: spread(test[name] for test in tests) for name in (tests[0] if tests else ())}
    return {
        "n": len(tests),
        "mean": {name: one.mean for name, one in found.items()},
        "std": {name: one.std for name, one in found.items()},
    }


def _value(entry: dict[str, Any]) -> float:
    """What an entry is ranked by: the objective's mean over seeds, where there are some."""
    return float((entry["mean"] if entry["n"] else entry["test"]).get(entry["objective"], math.nan))


def _within_noise(a: dict[str, Any], b: dict[str, Any]) -> bool | None:
    name = a["objective"]
    one, other = (Spread(e["n"], e["mean"].get(name, math.nan), e["std"].get(name)) for e in (a, b))
    return within_noise(one, other)


def sign(mode: str) -> int:
    """What to multiply with so that smaller is better."""
    return -1 if mode == "max" else 1


def rank(mode: str, value: float, name: str) -> tuple[float, str]:
    """What trials are sorted by, best first: the value (what is not finite comes last), then the name."""
    return sign(mode) * value if math.isfinite(value) else math.inf, name


def published_for(datasets: Iterable[str]) -> list[dict[str, Any]]:
    """Published numbers, one entry for each dataset and method, with their source."""
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    wanted = set(datasets)
    for number in PUBLISHED:
        if number.dataset in wanted:
            entry = entries.setdefault(
                (number.dataset, number.method),
                {
                    "dataset": number.dataset,
                    "method": number.method,
                    "published": True,
                    "source": number.source,
                    "test": {},
                    "notes": {},
                },
            )
            entry["test"][number.metric] = number.value
            if number.note:
                entry["notes"][number.metric] = number.note
    return list(entries.values())


def render(entries: Sequence[dict[str, Any]]) -> list[Table]:
    """A table for each dataset (stand-in and real apart) and way of judging, published rows below the own ones."""
    tables: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for entry in entries:
        tables.setdefault(tuple(entry[name] for name in TABLE), []).append(entry)
    return [_table(tables[key]) for key in sorted(tables)]


def _table(own: Sequence[dict[str, Any]]) -> Table:
    """The table of entries that are alike in ``TABLE``."""
    dataset, stand_in, task, judged = (own[0][name] for name in TABLE)
    metrics = TASKS[task].metrics
    title = ", ".join(filter(None, (dataset, judged))) + (f"  {STAND_IN}: not comparable with the paper" * stand_in)
    table = Table(title=title, title_justify="left", title_style="bold red" if stand_in else "bold")
    for name in ("method", "backbone", *(METRICS[m].label for m in metrics), "trials", "run / trial or source"):
        table.add_column(name, overflow="fold")
    if any(e["within_noise"] for e in own):
        table.caption = f"{ALIKE} seeds alone may make its difference to the best (Welch's t-test, {LEVEL:.0%})"
        table.caption_justify = "left"
    for e in own:
        trials = str(e["trials"]) + (f" + {e['n']} seeds" if e["n"] else "")
        table.add_row(
            method_label(e["method"]), backbone_label(e), *_cells(e, metrics), trials, f"{e['run']}/{e['trial']}"
        )
    for p in published_for([dataset]):
        if not p["test"].keys() & set(metrics):
            continue
        notes = "; ".join(sorted(set(p["notes"].values())))
        cells = [f"{method_title(p['method'])}", "published", *_numbers(p, metrics), "", p["source"]]
        cells[-1] += f" ({notes})" if notes else ""
        table.add_row(*cells, style="dim italic")
    return table


def trials_table(rows: Sequence[Any], objective: str, metrics: Sequence[str], mode: str) -> Table:
    """The trials of one sweep, best first. Columns: validation objective, test metrics, what was chosen."""
    table = Table(title="leaderboard of this run", title_justify="left", title_style="bold")
    labels = [f"test {METRICS[m].label}" for m in metrics]
    for name in ("#", "trial", "status", f"val {METRICS[objective].label}", *labels, "epochs", "choices"):
        table.add_column(name, overflow="fold")
    done = {"completed": 0, "pruned": 1}
    ranked = sorted(rows, key=lambda r: (done.get(r.status, 2), *rank(mode, r.best, r.trial)))
    for i, row in enumerate(ranked, 1):
        value = f"{row.best:.4f}" if math.isfinite(row.best) else "-"
        numbers = _numbers({"test": row.test}, metrics)
        table.add_row(
            str(i), row.trial, row.status, value, *numbers, str(len(row.epochs)), row.cause or _short(row.choices)
        )
    return table


def seeds_table(rows: Sequence[Any], of: str, objective: str, metrics: Sequence[str]) -> Table:
    """The seeds of one trial and, below them, their mean and spread."""
    table = Table(title=f"seeds of {of}", title_justify="left", title_style="bold")
    for name in ("trial", "seed", "status", f"val {METRICS[objective].label}"):
        table.add_column(name)
    for m in metrics:
        table.add_column(f"test {METRICS[m].label}")
    for row in rows:
        value = f"{row.best:.4f}" if math.isfinite(row.best) else "-"
        table.add_row(
            row.trial, str(row.settings["train.seed"]), row.status, value, *_numbers({"test": row.test}, metrics)
        )
    over = spreads([row.test for row in rows if row.status == "completed" and row.test])
    if over["n"] > 1:
        table.add_section()
        table.add_row("mean", "", "", "", *(_plus_minus(over, m) for m in metrics), style="bold")
    return table


def _cells(entry: dict[str, Any], metrics: Sequence[str]) -> list[str]:
    """An entry's metrics: over seeds where there are some, else of its one trial."""
    if not entry["n"]:
        return _numbers(entry, metrics)
    mark = f" {ALIKE}" if entry["within_noise"] else ""
    return [_plus_minus(entry, m) + (mark if m == entry["objective"] else "") for m in metrics]


def _plus_minus(over: dict[str, Any], metric: str) -> str:
    unit, std = METRICS[metric].unit, over["std"].get(metric)
    return number(over["mean"].get(metric), unit) + ("" if std is None else f" ± {number(std, unit)}")


def pareto_table(front: Sequence[Any], objective: str) -> Table:
    """The trials of a sweep with several objectives that no other one beats, best quality first."""
    table = Table(title="Pareto front", title_justify="left", title_style="bold")
    for name in ("trial", f"val {METRICS[objective].label}", "seconds", "trained parameters", "choices"):
        table.add_column(name, overflow="fold")
    for row in front:
        seconds, parameters = (cost(row) for cost in COSTS.values())
        table.add_row(row.trial, f"{row.best:.4f}", f"{seconds:.1f}", f"{parameters:,}", _short(row.choices))
    return table


def _numbers(entry: dict[str, Any], metrics: Sequence[str]) -> list[str]:
    return [number(entry["test"].get(m), METRICS[m].unit) for m in metrics]


def number(value: float | None, unit: str) -> str:
    """A metric's value as tables show it."""
    if value is None:
        return "-"
    return f"{value:.2f}" if unit else f"{value:.3f}"


def backbone_label(entry: dict[str, Any]) -> str:
    """An entry's size of SAM, and whether it began without trained weights."""
    return f"{entry['backbone']} (random)" if entry["backbone_random"] else str(entry["backbone"])


def method_label(name: str) -> str:
    """What was told the true box does not compare with what was not."""
    return f"{name} (true box)" if name in registry.names() and registry.load(name).prompted else name


def method_title(method: str) -> str:
    """What a method calls itself; of a published one that is not here, its name."""
    return registry.load(method).title if method in registry.names() else method


def _short(choices: dict[str, Any]) -> str:
    words = []
    for name, value in choices.items():
        shown = f"{value:.3g}" if isinstance(value, float) else str(value)
        words.append(f"{name.split('.', 1)[-1]}={shown}")
    return " ".join(words)
