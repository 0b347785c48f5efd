"""Ray Train's helper that frees the cores of a controller which was killed, made patient.

Ray's own asks the state API once a second whether the controller lives, and takes "I know no such actor" for a death:
on a busy machine it removes the cores of a healthy trial, whose workers then die. Here only DEAD is dead.
"""

from __future__ import annotations

import contextlib
import queue
from typing import Any

from ray.train.v2._internal.callbacks import placement_group_callback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.controller.placement_group_cleaner import PlacementGroupCleaner
from ray.util.state import get_actor
from ray.util.state.exception import RayStateApiException


class PatientCleaner(PlacementGroupCleaner):
    """Looks after a controller's placement group."""

    def _monitor_loop(self) -> None:
        group: Any = None
        while not self._stop_event.is_set():
            with contextlib.suppress(queue.Empty):
                group = self._pg_queue.get(timeout=self._check_interval_s)
            if self._is_dead():
                while not self._pg_queue.empty():
                    group = self._pg_queue.get()
                self._cleanup_placement_group(group)
                break
        self._exit()
        self._monitor_thread = None

    def _is_dead(self) -> bool:
        try:
            controller = get_actor(self._controller_actor_id, timeout=self._get_actor_timeout_s)
        except RayStateApiException:
            return False
        return controller is not None and controller.state == "DEAD"


class PatientCleanerCallback(PlacementGroupCleanerCallback):
    """Starts that one in place of Ray's, in the controller's own process."""

    def after_controller_start(self, train_run_context: Any) -> None:
        placement_group_callback.PlacementGroupCleaner = PatientCleaner
        super().after_controller_start(train_run_context)
