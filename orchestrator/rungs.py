"""Where ASHA compares trials. Knows no Ray, so that the console can tell how long trials will be."""

from __future__ import annotations

FACTOR = 2  #: a trial must be in the better 1/FACTOR of those at its rung
KNOWN = 3  #: trials that must have been at a rung before one is cut there
FIRST = "000"  #: the first trial, the method's defaults, is never cut


def grace(epochs: int) -> int:
    """The first epoch at which a trial of so many may be cut."""
    return max(1, epochs // 3)


def rungs(epochs: int) -> list[int]:
    """The epochs at which a trial may be cut; none where it is too short for that to help."""
    if epochs < 3:
        return []
    found = [grace(epochs)]
    while found[-1] * FACTOR < epochs:
        found.append(found[-1] * FACTOR)
    return found
