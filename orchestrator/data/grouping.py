"""Seeded splits that never cut a group (a video, a scene, a patient)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def held_out(ids: Sequence[str], groups: Sequence[str], count: int, seed: int) -> set[int]:
    """Positions of about ``count`` items to hold out; whole groups only.

    An item without a group ('') stands alone, so without groups exactly ``count`` items are taken. The
    choice depends on the ids and groups, not on the order in which they are given. At least one group is
    held out and at least one is kept: of fewer than two, the answer is empty.
    """
    members: dict[tuple[str, str], list[int]] = {}
    for position, (item, group) in enumerate(zip(ids, groups, strict=True)):
        members.setdefault(("group", group) if group else ("item", item), []).append(position)
    units = sorted(members)
    if len(units) < 2:
        return set()
    shuffled = [units[i] for i in np.random.Generator(np.random.PCG64(seed)).permutation(len(units))]
    taken: list[int] = []
    for unit in shuffled:
        if len(taken) + len(members[unit]) <= min(max(count, 1), len(ids) - 1):
            taken += members[unit]
    return set(taken or members[min(units, key=lambda unit: len(members[unit]))])
