"""What prompt learning brings where single objects are prompted for: mean IoU, boundary IoU and spread over prompts.

    make bench-prompts                  faces and nuclei as they are under DATA, or their stand-ins: an hour on a core
    python benchmarks/prompts.py hair   one of the questions alone

Frozen SAM, its decoder tuned, SAM-Adapter and prompt learning answer the same 20 prompts of each test object. The
runs are those of `samsweep train`, the tables those of `samsweep leaderboard`; what is finished is not run again. For
each question a line tells whether prompt learning beats frozen SAM in mean IoU and narrows the spread; exit code 1
where it does not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from orchestrator.results import read_rows
from orchestrator.storage import Storage

SAMSWEEP = str(Path(sys.executable).with_name("samsweep"))
METHODS = ("sam", "decoder", "sam_adapter", "prompt_learning")
EPOCHS = 30
#: What is asked, of which data set. Boxes in training are off by more than those that are measured (0.1): what learns
#: to find the object from those depends less on the box.
QUESTIONS = {
    "skin": ("celebamask_hq", "prompts.classes=skin"),
    "hair": ("celebamask_hq", "prompts.classes=hair"),
    "nose": ("celebamask_hq", "prompts.classes=nose"),
    "faces": ("celebamask_hq", ""),
    "nuclei-box": ("dsb2018", "prompts.judged_by=box prompts.kind=box prompts.jitter=0.4"),
    "nuclei": ("dsb2018", ""),
}
#: The published rate for the others; a module that starts at zero wants more.
RATES = {"prompt_learning": "train.lr=1e-3"}


def train(question: str, method: str, data: str, storage: str) -> None:
    """Run one training through the command, unless it is there."""
    dataset, asked = QUESTIONS[question]
    name = f"{question}-{method}"
    if any(row["status"] == "completed" for row in rows_of(storage, name)):
        return
    words = [SAMSWEEP, "train", method, dataset, "--local", "--name", name]
    words += ["--data", data, "--storage", storage, "--set", f"{asked} {RATES.get(method, '')}".strip()]
    words += ["--epochs", str(EPOCHS)] if method != "sam" else []
    print(f"$ samsweep {' '.join(words[1:])}", flush=True)
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def rows_of(storage: str, name: str) -> list[dict]:
    return [row for row in read_rows(Storage(storage)) if row["run"] == name] if Path(storage).exists() else []


def verdict(question: str, storage: str) -> bool:
    """Print how prompt learning did beside frozen SAM; whether both figures are better."""
    frozen, learned = (rows_of(storage, f"{question}-{m}")[0]["test"] for m in ("sam", "prompt_learning"))
    pairs = {name: (frozen[name], learned[name]) for name in ("object_miou", "boundary_iou", "iou_spread")}
    print(f"{question}: " + ", ".join(f"{name} {a:.3f} -> {b:.3f}" for name, (a, b) in pairs.items()), flush=True)
    return learned["object_miou"] > frozen["object_miou"] and learned["iou_spread"] < frozen["iou_spread"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", nargs="*", default=list(QUESTIONS), metavar="QUESTION", help=" ".join(QUESTIONS))
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--data", default="data")
    parser.add_argument("--storage", default="results/prompts")
    a = parser.parse_args()
    better = []
    for question in a.questions:
        for method in a.methods.split(","):
            train(question, method, a.data, a.storage)
        if {"sam", "prompt_learning"} <= set(a.methods.split(",")):
            better.append(verdict(question, a.storage))
    subprocess.run([SAMSWEEP, "leaderboard", "--storage", a.storage], check=True)
    return int(not all(better))


if __name__ == "__main__":
    sys.exit(main())
