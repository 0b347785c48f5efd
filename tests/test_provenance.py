"""Where a result comes from: the checkout, the machine, the command, and what of it changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from orchestrator import provenance
from orchestrator.cores import rank_threads


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit."""
    git(tmp_path, "init", "-q")
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods/a.py").write_text("A = 1\n")
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    git(tmp_path, "add", "-A")
    git(tmp_path, "-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-qm", "one")
    return tmp_path


def git(root: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True)


def diff(root: Path) -> str | None:
    provenance.diff_hash.cache_clear()
    return provenance.diff_hash(root)


def test_the_diff_is_of_what_the_commit_does_not_have(checkout: Path) -> None:
    assert diff(checkout) is None
    (checkout / "results").mkdir()
    (checkout / "results/row").write_text("what a run writes is no code")
    (checkout / "methods/a.pyc").write_text("git ignores it")
    assert diff(checkout) is None
    (checkout / "methods/a.py").write_text("A = 2\n")
    changed = diff(checkout)
    (checkout / "methods/b.py").write_text("B = 1\n")
    added = diff(checkout)
    (checkout / "methods/b.py").write_text("B = 2\n")
    assert len({None, changed, added, diff(checkout)}) == 4 and changed is not None and len(changed) == 64
    (checkout / "methods/b.py").unlink()
    assert diff(checkout) == changed, "the same changes, the same digest"
    git(checkout, "add", "methods")
    assert diff(checkout) == changed, "staged or not"


def test_without_a_checkout_there_is_no_diff(tmp_path: Path) -> None:
    assert diff(tmp_path) is None


def test_the_commit_may_be_told_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (provenance.commit, provenance.code_version):
        function.cache_clear()
    monkeypatch.setenv(provenance.COMMIT, "abc1234")
    assert provenance.commit() == "abc1234" and provenance.code_version().endswith("+abc1234")
    for function in (provenance.commit, provenance.code_version):
        function.cache_clear()


def test_the_hardware_is_this_machines() -> None:
    found = provenance.hardware(torch.device("cpu"), torch.bfloat16)
    assert found["device"] == "cpu" and found["precision"] == "bfloat16"
    assert found["cores"] >= 1 and found["memory_gb"] > 0.5 and found["cpu"]
    assert found["threads"] == torch.get_num_threads() and isinstance(found["gpus"], list)


def test_an_origin_holds_plain_values() -> None:
    import json

    found = provenance.origin(torch.device("cpu"), torch.float32, "f00d")
    assert json.loads(json.dumps(found)) == found
    assert found["backbone_fingerprint"] == "f00d" and found["packages"]["torch"] and found["host"]


def test_a_command_can_be_typed_again() -> None:
    import shlex

    words = ["sweep", "mca", "cod10k", "--set", "train.lr=1e-3 method.tokens=64", "--name", "a b"]
    assert shlex.split(provenance.command(words)) == ["samsweep", *words]
    assert "hunter22" not in provenance.command(["ingest", "x", "--source", "https://me:hunter22@host/x"])


def test_only_what_both_records_have_is_compared() -> None:
    then = {"code_version": "1", "commit": "c", "diff": None, "packages": {"torch": "2.10", "old": "1"}}
    then["hardware"] = {"cpu": "x", "threads": 1}
    assert provenance.differences(then, then) == []
    now = {**then, "diff": "d" * 64, "packages": {"torch": "2.11", "new": "1"}, "hardware": {"cpu": "x", "threads": 2}}
    told = provenance.differences(then, now)
    assert told == [
        "torch: was 2.10, is 2.11",
        "uncommitted changes: was none, is dddddddddddd",
        "threads: was 1, is 2",
    ]
    old = {"code_version": "1", "packages": {"torch": "2.10"}, "diff": None, "commit": None, "hardware": None}
    assert provenance.differences(old, now) == ["torch: was 2.10, is 2.11"], "an old record tells less"


@pytest.mark.parametrize(("cores", "threads"), [(0.25, 1), (1, 1), (1.9, 1), (2, 2), (4.0, 4)])
def test_threads_follow_from_the_settings(cores: float, threads: int) -> None:
    assert rank_threads(cores) == threads
