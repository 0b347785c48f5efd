"""Whether a student learns panoramas from SAM and an assistant: mean IoU over seeds on the street stand-in.

    make bench-panoramas     three quarters of an hour on two cores

For each seed an assistant learns from pinhole views, and two students of its size from panoramas without labels, four
times as many as a sweep on the stand-in has: one from SAM and the assistant, one from the assistant's labels alone. The
assistant itself does not learn on from panoramas (neither from L_CC nor from L_CE^{T,TA}), so that both are taught
alike. Beside them stand the assistant on whole panoramas and on windows, and E, the pseudo labels of SAM's instances
and the assistant's classes. The runs are those of `samsweep train`; what is finished is not run again. Exit code 1
where GoodSAM > labels alone > assistant, or E > assistant on windows, does not hold for the means.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from orchestrator.data.ingest import ingest
from orchestrator.data.schema import ingested_names
from orchestrator.data.standin.town.panoramas import write_densepass
from orchestrator.results import read_rows
from orchestrator.storage import Storage

SAMSWEEP = str(Path(sys.executable).with_name("samsweep"))
PANORAMAS = 192, 32  #: to learn from and to test
FIXED = "method.w_cc=0 method.w_t_ta=0"  #: the assistant stays as it is
#: Of the student that learns from the assistant's labels alone: of the losses, only L_CE^{TA,S} is left.
ALONE = f"{FIXED} method.w_t_s=0 method.w_bd=0"
STUDENTS = {"goodsam": FIXED, "labels-alone": ALONE}
ROWS = {
    "assistant on whole panoramas": ("goodsam", "first_assistant"),
    "assistant on windows": ("labels-alone", "assistant_windows"),
    "E, by the assistant as it first was": ("labels-alone", "ensemble"),
    "student, the assistant's labels alone": ("labels-alone", "class"),
    "student, GoodSAM": ("goodsam", "class"),
}


def draw(data: str) -> None:
    """Panoramas, unless they are there; they stand where a stand-in does, and are marked as one."""
    root = Storage(f"{data}/stand-in")
    if "densepass" in ingested_names(root):
        return
    with tempfile.TemporaryDirectory() as folder:
        write_densepass(Path(folder), *PANORAMAS, 0)
        ingest("densepass", Path(folder), root, layout="densepass", task="panorama", stand_in=True)


def train(student: str, seed: int, a: argparse.Namespace) -> None:
    """Run one training through the command, unless it is there."""
    name = f"{student}-{seed}"
    if test_of(name, a.storage):
        return
    words = [SAMSWEEP, "train", "goodsam", "densepass", "--local", "--name", name, "--seed", str(seed)]
    words += ["--data", a.data, "--storage", a.storage, "--epochs", str(a.epochs)]
    words += ["--set", f"{STUDENTS[student]} method.source_seed={seed} {a.set}".strip()]
    print(f"$ samsweep {' '.join(words[1:])}", flush=True)
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")


def test_of(name: str, storage: str) -> dict[str, Any] | None:
    """The test metrics of a run that is finished."""
    rows = read_rows(Storage(storage)) if Path(storage).exists() else []
    return next((row["test"] for row in rows if row["run"] == name and row["status"] == "completed"), None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--at-once", type=int, default=2, help="seeds side by side, a core each")
    parser.add_argument("--set", default="", help="further settings of both students")
    parser.add_argument("--data", default="results/panoramas/data", help="of its own: other panoramas than a sweep's")
    parser.add_argument("--storage", default="results/panoramas")
    a = parser.parse_args()
    draw(a.data)
    prepare = [SAMSWEEP, "prepare", "goodsam", "densepass", "--data", a.data, "--storage", a.storage]
    subprocess.run(prepare, check=True)  # the stand-ins, SAM's masks, the first seed's assistant
    with ThreadPoolExecutor(a.at_once) as pool:
        list(pool.map(lambda seed: [train(student, seed, a) for student in STUDENTS], range(a.seeds)))
    found = {
        title: {kind: [test_of(f"{run}-{s}", a.storage)[f"{metric}_{kind}"] for s in range(a.seeds)]  # type: ignore[index]
                for kind in ("miou", "biou")}
        for title, (run, metric) in ROWS.items()
    }  # fmt: skip
    print("\n| | mIoU | bIoU |\n|---|---|---|")
    for title, kinds in found.items():
        print(f"| {title} | {words_of(kinds['miou'])} | {words_of(kinds['biou'])} |")
    whole, windows, ensemble, alone, student = (mean(kinds["miou"]) for kinds in found.values())
    held = student > alone > whole and ensemble > windows
    print(f"\nGoodSAM > labels alone > assistant, and E > assistant on windows: {'yes' if held else 'NO'}")
    return int(not held)


def words_of(values: list[float]) -> str:
    """Mean and standard deviation over seeds."""
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
