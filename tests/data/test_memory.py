"""Memory does not grow with the data set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from data_samples import put_pair

GROWN = """
import sys
from pathlib import Path
from orchestrator.data.ingest import ingest
from orchestrator.data.loader import Loader
from orchestrator.data.order import epoch_order, rank_batches
from orchestrator.data.reader import open_dataset
from orchestrator.storage import Storage

def own():
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]) / 1024

seen = {}
def tell(done, total, item):
    if done in (200, total):
        seen[done] = own()

out = Storage(sys.argv[2])
rows = ingest("own", sys.argv[1], out, "folders", "binary", progress=tell).rows("train")
few, all = seen.values()
print(all - few)
split = open_dataset(out, "own").split("train")
at = []
for epoch in (1, 2):
    parts = rank_batches(epoch_order(rows, 0, epoch), 16, 0, 1)
    for batch in Loader(split, 64, "pad", parts, 0, epoch, True):
        at.append(own())
print(max(at[-20:]) - at[20])
"""


def test_an_ingest_and_two_epochs_take_no_more_at_their_end(tmp_path: Path) -> None:
    for i in range(900):
        put_pair(tmp_path / f"own/images/{i:05d}.png", tmp_path / f"own/masks/{i:05d}.png", i % 7, 130, 170)
    command = [sys.executable, "-c", GROWN, str(tmp_path / "own"), str(tmp_path / "out")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    ingested, read = (float(line) for line in done.stdout.split())
    assert ingested < 20 and read < 12, "megabytes; the data are 60 of them, in one shard"
