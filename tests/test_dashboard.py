"""optuna-dashboard shows all sweeps' studies under STORAGE while they grow, and can change none."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from sockets import is_loopback, listening

from orchestrator import board
from orchestrator.board import open_server, ray_dashboard
from orchestrator.errors import UserError
from orchestrator.storage import Storage
from orchestrator.studies import FILE, IDS, ReadOnly, Studies
from orchestrator.study import FILE as WRITTEN


def sweep(folder: Path, directions: tuple[str, ...] = ("maximize",), trials: int = 2) -> optuna.Study:
    """A study as a sweep writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / FILE)))
    study = optuna.create_study(storage=storage, study_name=f"mca/tiny/vit_t/{folder.name}", directions=directions)
    study.optimize(lambda trial: [trial.suggest_float("train.lr", 0, 1)] * len(directions), n_trials=trials)
    return study


@pytest.fixture
def root(tmp_path: Path) -> Path:
    sweep(tmp_path / "one")
    sweep(tmp_path / "two", ("maximize", "minimize"), 3)
    (tmp_path / "other").mkdir()
    return tmp_path


@pytest.fixture
def studies(root: Path) -> Iterator[Studies]:
    with Studies(Storage(str(root))) as found:
        yield found


def by_name(studies: Studies) -> dict[str, list[Any]]:
    return {s.study_name.split("/")[-1]: studies.get_all_trials(s._study_id) for s in studies.get_all_studies()}


def test_studies_of_all_sweeps_are_found_and_followed(root: Path, studies: Studies) -> None:
    assert FILE == WRITTEN
    assert {name: len(trials) for name, trials in by_name(studies).items()} == {"one": 2, "two": 3}
    ids = {s.study_name: s._study_id for s in studies.get_all_studies()}
    assert {i // IDS for i in ids.values()} == {0, 1}

    study = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(root / "one" / FILE))))
    trial = study.ask()
    trial.report(0.5, 1)
    assert by_name(studies)["one"][-1].intermediate_values == {1: 0.5}, "at once, where the folder is here"
    study.tell(trial, 0.5)
    sweep(root / "three", trials=1)
    studies.look()
    assert {name: len(trials) for name, trials in by_name(studies).items()} == {"one": 3, "two": 3, "three": 1}
    assert ids.items() <= {s.study_name: s._study_id for s in studies.get_all_studies()}.items(), "they stay"

    (root / "two" / FILE).unlink()
    sweep(root / "two", trials=1)
    (root / "three" / FILE).unlink()
    studies.look()
    assert {name: len(trials) for name, trials in by_name(studies).items()} == {"one": 3, "two": 1}, "begun anew, gone"


def test_a_torn_line_is_waited_for(root: Path, studies: Studies) -> None:
    journal = root / "one" / FILE
    whole = journal.read_bytes()
    sweep(root / "new", trials=1)
    line = whole.splitlines(keepends=True)[1]
    with journal.open("ab") as file:
        file.write(line[:9])
        file.flush()
        assert len(by_name(studies)["one"]) == 2
        file.write(line[9:])
        file.flush()
        assert len(by_name(studies)["one"]) == 3
        file.write(b'{"torn\n' + line)
    assert len(by_name(studies)["one"]) == 4


def test_a_store_is_copied_when_it_has_more(root: Path, store: Any) -> None:
    remote = Storage("flaky://bucket/results")
    whole = (root / "two" / FILE).read_bytes()
    half = whole.index(b"\n", len(whole) // 2) + 1
    (remote / "two").write(FILE, whole[:half])
    with Studies(remote) as studies:
        assert 0 < len(by_name(studies)["two"]) < 3
        (remote / "two").write(FILE, whole)
        studies.look()
        assert len(by_name(studies)["two"]) == 3


def test_nothing_can_be_changed(root: Path, studies: Studies) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    (first, *_) = studies.get_all_studies()
    for change in (
        lambda: studies.delete_study(first._study_id),
        lambda: studies.set_study_user_attr(first._study_id, "note", "x"),
        lambda: studies.create_new_study([], "x"),
        lambda: studies._at(first._study_id)[0].set_study_user_attr(0, "note", "x"),
    ):
        with pytest.raises(ReadOnly):
            change()
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def ask(url: str, method: str = "GET", data: Any = None, **headers: str) -> tuple[int, Any]:
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_server_shows_them_on_loopback_and_refuses_changes(root: Path, studies: Studies) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with open_server(studies) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}/api/studies"
        code, told = ask(at)
        assert code == 200
        names = {study["study_name"]: study["study_id"] for study in told["study_summaries"]}
        assert set(names) == {"mca/tiny/vit_t/one", "mca/tiny/vit_t/two"}
        code, told = ask(f"{at}/{names['mca/tiny/vit_t/two']}?after=0")
        assert code == 200 and len(told["trials"]) == 3 and told["directions"] == ["maximize", "minimize"]
        assert ask(f"{at}/{names['mca/tiny/vit_t/two']}", "DELETE")[0] == 403
        assert ask(at, "POST", {"study_name": "x", "directions": ["minimize"]})[0] == 403
        assert ask(f"{at}/0/note", "PUT", {"body": "x", "version": 1})[0] == 403
        for host, code in (("evil.example", 403), ("evil.example:8080", 403), ("localhost:8080", 200)):
            assert ask(at, Host=host)[0] == code
        assert all(is_loopback(address) for address, _ in listening(os.getpid()))
        server.shutdown()
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_port_that_is_taken_is_passed_over_or_said(studies: Studies, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(board, "PORT", port)
        with open_server(studies) as server:
            assert port < server.server_port < port + board.TRIES
        with pytest.raises(UserError, match=f"port {port} is taken; leave --port out"):
            open_server(studies, port)


@pytest.mark.parametrize(
    ("code", "body", "known"),
    [
        (200, b'{"version": "4", "ray_version": "2.60.0"}', True),
        (401, b"Unauthorized: Missing authentication token", True),
        (200, b"<html>", False),
        (401, b"who are you?", False),
    ],
)
def test_rays_dashboard_is_known_by_its_answer(code: int, body: bytes, known: bool) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = server.server_port
        assert (ray_dashboard(at) == f"http://127.0.0.1:{at}") == known
        server.shutdown()


def test_the_command_prints_both_addresses_and_ends_with_a_line(root: Path) -> None:
    code = "import sys; from orchestrator.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "dashboard", "--storage", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        said = [process.stdout.readline() for _ in range(3)]
        assert said[0].startswith("Ray     ") and said[1].startswith("Optuna  http://127.0.0.1:"), said
        assert said[2].startswith("2 studies under ")
        assert ask(f"{said[1].split()[1]}/api/studies")[0] == 200
        process.send_signal(signal.SIGTERM)  # Ctrl-C is ignored in what a script starts in the background
        assert process.stdout.read() == "dashboard ended\n" and process.wait(timeout=30) == 0
        assert process.stderr.read() == ""
