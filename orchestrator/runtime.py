"""Ray itself: start or join a cluster quietly, and say beforehand whether a trial fits on it."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import IO

from orchestrator.config import TrainSettings
from orchestrator.errors import UserError
from orchestrator.plan import Plan

LOOPBACK = "lo" if sys.platform == "linux" else "lo0"  #: the interface
#: Read by Ray when it starts or when a trial does; what the user has set wins.
ENVIRONMENT = {
    # every report() and shutdown waits for the controller's poll, 2 s by default
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_TRAIN_ENABLE_STATE_TRACKING": "1",  # the dashboard's Train page
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths mean what the user typed
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",  # for a trial's driver to be free for the next one
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
#: Of a Ray that is started here: its one node gives no notice before it goes, and listening costs a process a slot.
LOCAL_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # where ranks meet, if there are several: the interface, which is else that of the host's name
    "GLOO_SOCKET_IFNAME": LOOPBACK,
    "NCCL_SOCKET_IFNAME": LOOPBACK,
}
#: Ray's object store holds nothing of ours; its default of 30 % of memory would be locked away.
OBJECT_STORE_BYTES = 256 * 2**20
AUTHENTICATION = "RAY_AUTH_MODE"  #: Ray's variable; unset, a local Ray asks for a token
#: Whether other machines shall join, despite its name: if not, every process of Ray listens on loopback alone.
JOINABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
ESSENTIAL = {"raylet", "gcs_server"}  #: without these a local Ray is gone
WATCH_SECONDS = 0.5


@dataclass(frozen=True)
class Capacity:
    """What the cluster has: (CPU cores, GPUs) of each node. A worker must fit on one of them."""

    nodes: tuple[tuple[float, float], ...]

    @property
    def gpus(self) -> float:
        return sum(gpus for _, gpus in self.nodes)

    def ranks(self, train: TrainSettings) -> int:
        """How many workers fit at once, whatever trials they are of."""
        return sum(_workers_on(node, train) for node in self.nodes)

    def concurrent(self, train: TrainSettings) -> int:
        """How many trials fit at once.

        Raises:
            UserError: not even one; says what is missing.
        """
        workers, least = sum(_workers_on(node, train) for node in self.nodes), train.least_workers
        if fits := workers // train.workers or int(workers >= least):
            return fits
        cpus, gpus = least * train.cpus_per_worker, least * train.gpus_per_worker
        has = sum(cpu for cpu, _ in self.nodes)
        if gpus > self.gpus:
            raise UserError(
                f"WORKERS={least}: a trial needs {gpus:g} GPUs and the cluster has {self.gpus:g}; "
                "lower WORKERS or train.gpus_per_worker"
            )
        raise UserError(
            f"WORKERS={least}: a trial needs {cpus:g} CPU cores ({train.cpus_per_worker:g} together for each "
            f"worker) and the cluster has {has:g} on {len(self.nodes)} node(s); lower WORKERS, "
            f'or SET="train.cpus_per_worker={math.floor(has / least * 100) / 100}"'
        )


def _workers_on(node: tuple[float, float], train: TrainSettings) -> int:
    cpus, gpus = node
    fits = math.floor(cpus / train.cpus_per_worker + 1e-9)
    return min(fits, math.floor(gpus / train.gpus_per_worker + 1e-9)) if train.gpus_per_worker else fits


def local_capacity() -> Capacity | None:
    """What a Ray that is started here will have; None where RAY_ADDRESS names a cluster, which must be asked."""
    if "RAY_ADDRESS" in os.environ:
        return None
    import torch

    return Capacity(((os.cpu_count() or 1, torch.cuda.device_count()),))


def with_gpus(plan: Plan, capacity: Capacity, given: bool) -> Plan:
    """A plan with a GPU for each worker, where there are some and the user has not said otherwise (``given``)."""
    if not capacity.gpus or given:
        return plan
    return dataclasses.replace(plan, settings=plan.settings.replace({"train.gpus_per_worker": 1.0}))


@dataclass(frozen=True)
class Session:
    """A running Ray and what a run needs of it."""

    plan: Plan  #: with GPUs, where the cluster has them and the user has not said otherwise
    capacity: Capacity
    folder: Path  #: local, for Ray's log and other files
    screen: IO[str]  #: the terminal, while everything else that is written goes to the log


@contextmanager
def session(
    plan: Plan,
    gpus_given: bool,
    say: Callable[[str], None],
    begin: Callable[[], None] = lambda: None,
    advice: str = "",
    at_once: int = 1,
) -> Iterator[Session]:
    """Ray for one run: started (or joined), checked against what a trial needs, and left.

    Should a Ray that was started here die, this process ends with one line and exit code 2.

    Args:
        begin: puts something into the run's folder before anything else does.
        advice: what to do when Ray has died.
        at_once: as many trials could make use of workers that an autoscaler has yet to start.

    Raises:
        UserError: Ray does not start, or no trial fits; in the latter case nothing is left behind.
    """
    if "RAY_ADDRESS" not in os.environ:
        Capacity(((os.cpu_count() or 1, math.inf),)).concurrent(plan.settings.train)
    fresh = not plan.run.exists()
    with ExitStack() as stack:
        begin()
        remote = not plan.run.is_local
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="samsweep-"))) if remote else plan.run.local()
        log = folder / "ray.log"
        say(f"starting Ray; its log is {log}")
        screen = stack.enter_context(quiet(log))
        dog = Watchdog(screen, f"Ray's own processes died; see {log}{advice}")
        stack.callback(dog.stop)
        capacity, dashboard = stack.enter_context(ray_cluster(log))
        plan, capacity = _with_nodes_to_come(plan, capacity, gpus_given, at_once, stack, screen)
        try:
            capacity.concurrent(plan.settings.train)
        except UserError:
            dog.stop()
            stack.close()
            if fresh:
                plan.run.remove()
            raise
        if dashboard:
            print(f"dashboard: {dashboard}", file=screen)
        stack.callback(dog.stop)  # again, since this is called before Ray is shut down
        yield Session(plan, capacity, folder, screen)


def _with_nodes_to_come(
    plan: Plan, capacity: Capacity, gpus_given: bool, at_once: int, stack: ExitStack, screen: IO[str]
) -> tuple[Plan, Capacity]:
    """The plan with GPUs where there are some, and the capacity once an autoscaler has done what it can."""
    if "RAY_ADDRESS" not in os.environ:
        return with_gpus(plan, capacity, gpus_given), capacity
    from orchestrator.cluster.autoscaler import kinds_to_come, nodes_for

    kinds = kinds_to_come()
    could_be = Capacity((*capacity.nodes, *((kind.cpus, kind.gpus) for kind in kinds)))
    plan = with_gpus(plan, could_be, gpus_given)
    if not kinds:
        return plan, capacity
    train = plan.settings.train

    def say(text: str) -> None:
        print(text, file=screen)

    stack.enter_context(nodes_for(train, at_once, lambda: capacity_now().ranks(train), say))
    return plan, capacity_now()


def capacity_now() -> Capacity:
    """What the nodes have that are there; this process has joined them."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Capacity(tuple((node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes))


@contextmanager
def ray_cluster(log: Path, dashboard: bool = True) -> Iterator[tuple[Capacity, str | None]]:
    """A local Ray (with a ``dashboard``), or the cluster that RAY_ADDRESS names; yields what it has and the URL.

    A local one asks everybody for a token, which Ray writes into the user's home, and none of its processes listens
    on anything but loopback.

    Raises:
        UserError: Ray does not start, or would start open to everybody.

    Its chatter goes to ``log``. Only what was started here is stopped.
    """
    address = os.environ.get("RAY_ADDRESS")
    if not address and (mode := os.environ.get(AUTHENTICATION) or "token") != "token":
        raise UserError(
            f"{AUTHENTICATION}={mode}: whoever reaches this machine could run code in the Ray that is started here; "
            "unset it, or start a Ray of your own and set RAY_ADDRESS"
        )
    for name, value in (ENVIRONMENT if address else ENVIRONMENT | LOCAL_ENVIRONMENT).items():
        os.environ.setdefault(name, value)
    import ray

    local = {
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": dashboard,
        "dashboard_host": "127.0.0.1",
    }
    joined = {"runtime_env": {"env_vars": ENVIRONMENT}}  # a local Ray's processes inherit it
    _log_to_file(log)
    try:
        with nullcontext() if address else on_loopback():
            context = ray.init(
                address=address or "local", log_to_driver=False, namespace="samsweep", **(joined if address else local)
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"Ray did not start ({reason}); see {log}, or unset RAY_ADDRESS") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, as_interrupt)  # Ray puts its own in the place of ours
    try:
        url = f"http://{context.dashboard_url}" if context.dashboard_url else None
        yield capacity_now(), url
    finally:
        ray.shutdown()


@contextmanager
def on_loopback() -> Iterator[None]:
    """A Ray that is started within has the address 127.0.0.1, and its processes listen there alone.

    By default it has that of the network, and listens on all there are; ``_node_ip_address`` does not change that,
    since Ray replaces a loopback address by the network's.
    """
    from ray._private import ray_constants

    before = os.environ.get(JOINABLE), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[JOINABLE], ray_constants.ENABLE_RAY_CLUSTER = "0", False  # for its processes, and for this one
    try:
        yield
    finally:
        os.environ.pop(JOINABLE)
        if before[0] is not None:
            os.environ[JOINABLE] = before[0]
        ray_constants.ENABLE_RAY_CLUSTER = before[1]


def as_interrupt(number: int, frame: FrameType | None) -> None:
    """A polite kill cleans up as Ctrl-C does, whoever handles that now."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):  # Ctrl-C is ignored in what a script starts in the background
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


def lost_ray() -> bool:
    """Whether the Ray that this process started has lost one of the processes it cannot be without."""
    # not imported here: the watchdog may ask while the main thread is importing Ray, which no other may do then
    node = getattr(sys.modules.get("ray._private.worker"), "_global_node", None)  # nothing public tells
    return node is not None and any(kind in ESSENTIAL for kind, _ in node.dead_processes())


class Watchdog:
    """Ends this process with one line as soon as its Ray is lost.

    Else it would hang for a while, call trials failed which are not, and at last be ended by Ray without a word.
    """

    def __init__(self, screen: IO[str], message: str) -> None:
        self.screen, self.message = screen, message
        self._over = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def stop(self) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(WATCH_SECONDS):
            if lost_ray() and not self._over.is_set():
                show_cursor = "\r\x1b[?25h" if self.screen.isatty() else ""  # a live table hides it
                self.screen.write(f"{show_cursor}error: {self.message}\n")
                self.screen.flush()
                os._exit(2)  # whatever waits for Ray now would wait in vain


@contextmanager
def quiet(log: Path) -> Iterator[IO[str]]:
    """Send everything written to stdout and stderr to ``log``; yields the terminal for our own display.

    At the level of file descriptors, because Ray's processes write there themselves.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    terminal, saved = os.dup(2), (os.dup(1), os.dup(2))
    with log.open("ab") as file, os.fdopen(terminal, "w", buffering=1) as screen:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield screen
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in zip((1, 2), saved, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)


def _log_to_file(log: Path) -> None:
    handler = logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    for name in ("ray", "ray.tune", "ray.train", "optuna"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
