"""Commands as Ray Jobs: they live on the cluster, whoever sent them may go to sleep and come back."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestrator.cluster.launch import Cluster
from orchestrator.cluster.tunnel import reach
from orchestrator.errors import UserError
from orchestrator.provenance import COMMIT, commit, diff_hash

ROOT = Path(__file__).resolve().parents[2]
#: Of the checkout, beside what .gitignore names: not needed to run, so not sent.
NOT_SENT = [".git", "tests", "docs", "benchmarks", ".ci"]
#: Of this machine's environment, what a job needs too. No credentials: a job's environment is shown to everybody.
PASSED_ON = (
    "AWS_ENDPOINT_URL",
    "AWS_DEFAULT_REGION",
    "AWS_REGION",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "SAMSWEEP_EMBEDDINGS_GB",
)
STOP_SECONDS = 30  #: for a sweep to write what it has, before Ray kills it
GONE_SECONDS = 600.0  #: so long a cluster that is out of reach is looked for
AGAIN_SECONDS = 3.0
OVER = {"SUCCEEDED", "FAILED", "STOPPED"}
STOPPED = 130  #: the exit code of a job that somebody stopped


@dataclass(frozen=True)
class JobInfo:
    """What the cluster says of a job."""

    name: str
    status: str
    command: str
    began: float  #: in seconds since 1970; 0: not yet
    message: str
    exit_code: int | None

    @property
    def over(self) -> bool:
        return self.status in OVER


def submit(address: str, name: str, words: Sequence[str]) -> str:
    """Start ``samsweep WORDS`` on the cluster behind ``address``; its job is called ``name``, or ``name-2`` and so on.

    Where samsweep runs from a checkout, that goes along, so that the cluster runs just this code.

    Raises:
        UserError: a job of that name is still running, or the cluster does not take it.
    """
    client = _client(address)
    known = {job.name: job for job in _jobs(client)}
    tries = [name, *(f"{name}-{number}" for number in range(2, len(known) + 2))]
    for one in tries:
        if one in known and not known[one].over:
            raise UserError(f"job '{one}' is running there already; follow it with: samsweep logs {one} --cluster ...")
    job = next(one for one in tries if one not in known)
    with _told(address):
        client.submit_job(
            entrypoint=shlex.join(["python", "-u", "-m", "orchestrator.cli", *words]),
            submission_id=job,
            runtime_env=_environment(),
        )
    return job


def _environment() -> dict[str, Any]:
    given = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
    given["RAY_JOB_STOP_WAIT_TIME_S"] = str(STOP_SECONDS)
    if told := commit():
        given[COMMIT] = told + ("-dirty" if diff_hash() else "")
    checkout = (ROOT / "pyproject.toml").exists()
    return {"env_vars": given} | ({"working_dir": str(ROOT), "excludes": NOT_SENT} if checkout else {})


def jobs(address: str) -> list[JobInfo]:
    """The samsweep jobs of a cluster, the newest first."""
    return _jobs(_client(address))


def _jobs(client: Any) -> list[JobInfo]:
    found = [_info(one) for one in client.list_jobs() if one.submission_id]
    return sorted(found, key=lambda job: -job.began)


def job(address: str, name: str) -> JobInfo:
    """One of them. Raises UserError where there is none of that name."""
    return _job(_client(address), name)


def _job(client: Any, name: str) -> JobInfo:
    found = {one.name: one for one in _jobs(client)}
    if name not in found:
        raise UserError(f"no job '{name}' on that cluster; it has: {', '.join(found) or 'none'}")
    return found[name]


def _info(details: Any) -> JobInfo:
    entry = str(details.entrypoint).partition("orchestrator.cli ")
    return JobInfo(
        str(details.submission_id),
        getattr(details.status, "value", str(details.status)),
        f"samsweep {entry[2]}" if entry[1] else entry[0],
        (details.start_time or 0) / 1000,
        " ".join((details.message or "").split()),
        details.driver_exit_code,
    )


def stop(address: str, name: str) -> JobInfo:
    """End a job as Ctrl-C would, and wait until it has ended. Raises UserError where there is none of that name."""
    client = _client(address)
    found = _job(client, name)
    if not found.over:
        client.stop_job(name)
        end = time.monotonic() + STOP_SECONDS + 15
        while not (found := _job(client, name)).over and time.monotonic() < end:
            time.sleep(0.5)
    return found


def follow(cluster: Cluster, name: str, write: Callable[[str], None], say: Callable[[str], None]) -> int:
    """Write what a job says, from its beginning until it is over; returns its exit code.

    A connection that breaks (a laptop that slept) is made anew, and the log goes on where it was.

    Args:
        write: takes the job's own words.
        say: takes remarks.

    Raises:
        UserError: there is no such job, or the cluster stays out of reach.
    """
    import aiohttp

    shown, reached = 0, False
    lost: float | None = None  #: since when the cluster is out of reach
    while True:
        try:
            with reach(cluster) as address:
                client = _client(address)
                _job(client, name)
                reached, lost = True, None
                for text in _tail(client, name, shown):
                    shown += len(text)
                    write(text)
                return exit_code(_ended(client, name))
        except (UserError, RuntimeError, OSError, aiohttp.ClientError) as error:
            if not reached:
                raise error if isinstance(error, UserError) else UserError(f"{cluster.name}: {error}") from error
            lost = lost or time.monotonic()
            if time.monotonic() - lost > GONE_SECONDS:
                raise UserError(f"cluster '{cluster.name}' is out of reach; the job may well go on") from error
            say("the connection is lost; the job goes on; looking for it")
            time.sleep(AGAIN_SECONDS)


def exit_code(ended: JobInfo) -> int:
    """As the command would have ended here."""
    if ended.status == "SUCCEEDED":
        return 0
    if ended.status == "STOPPED":
        return STOPPED
    told = re.search(r"exit code (\d+)", ended.message)
    return ended.exit_code or (int(told[1]) if told else 1)


def _ended(client: Any, name: str) -> JobInfo:
    """A job's log ends a moment before its status does."""
    end = time.monotonic() + 30
    while not (found := _job(client, name)).over and time.monotonic() < end:
        time.sleep(0.3)
    if not found.over:
        raise ConnectionError("the log ended, the job did not")
    return found


def _tail(client: Any, name: str, skip: int) -> Any:
    """A job's log, without its first characters."""
    loop = asyncio.new_event_loop()
    stream = client.tail_job_logs(name)
    try:
        while True:
            try:
                text = loop.run_until_complete(anext(stream))
            except StopAsyncIteration:
                return
            if skip >= len(text):
                skip -= len(text)
                continue
            yield text[skip:]
            skip = 0
    finally:
        with contextlib.suppress(Exception):
            loop.run_until_complete(stream.aclose())
        loop.close()


def _client(address: str) -> Any:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    from ray.job_submission import JobSubmissionClient

    logging.disable(logging.WARNING)  # Ray tells of each file that it does not send
    with _told(address):
        return JobSubmissionClient(address)


@contextlib.contextmanager
def _told(address: str) -> Any:
    """What Ray raises as one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = lines[0] if lines else type(error).__name__
        if re.search(r"authenticat|token|\b40[13]\b", str(error).replace(address, ""), re.IGNORECASE):
            said = "it does not know this token; ~/.ray/auth_token must be the one that the cluster was started with"
        raise UserError(f"{address}: {said}") from error


def name_of_job(words: Sequence[str], given: str | None) -> str:
    """What a job is called: as the run where that has a name, else by verb, what it is about, and the time."""
    if given:
        return given
    about = [word.replace(",", "_") for word in itertools.takewhile(lambda word: not word.startswith("-"), words[1:])]
    verb = [] if words[0] == "sweep" else [words[0]]
    return "-".join([*verb, *about, f"{datetime.now():%Y%m%d-%H%M%S}"])
