"""The mailbox keeps each trial's letters in order, and tells how far a trial is to whoever asks."""

from __future__ import annotations

import asyncio

from orchestrator.mailbox import Mailbox


def test_the_last_steps_of_the_trials_that_run_are_told() -> None:
    async def play() -> None:
        box = Mailbox()
        for steps in ((0, 8, 60), (1, 2, 9)):
            await box.put("a", "steps", steps)
        await box.put("b", "steps", (2, 1, 9))
        assert await box.steps() == {"a": (1, 2, 9), "b": (2, 1, 9)}
        assert await box.take("a") == ("steps", (0, 8, 60)), "and still arrive as letters"
        await box.close("b")
        await box.put("b", "steps", (2, 5, 9))
        assert await box.steps() == {"a": (1, 2, 9)}, "a late word of a trial that is over concerns nobody"

    asyncio.run(play())
