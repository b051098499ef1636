"""The watcher looks again and again, whatever a look brings."""

import asyncio

import pytest

from app.repository.watcher import watch


class Looks:
    """A repository whose looks end as listed; the last one says that it was reached."""

    def __init__(self, *ends: Exception | None) -> None:
        self._ends = list(ends)
        self.done = asyncio.Event()

    async def refresh(self) -> None:
        if not self._ends:
            self.done.set()
            return
        end = self._ends.pop(0)
        if end is not None:
            raise end


@pytest.mark.parametrize("ends", [(None,), (OSError("gone"),), (RuntimeError("a fault"), None, ValueError())])
def test_it_looks_again_whatever_happened(ends: tuple[Exception | None, ...]) -> None:
    async def scenario() -> None:
        looks = Looks(*ends)
        watching = asyncio.create_task(watch(looks, poll_seconds=0.001))  # type: ignore[arg-type]
        await asyncio.wait_for(looks.done.wait(), 10)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching

    asyncio.run(scenario())


def test_a_look_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        looks = Looks(OSError("the disk has gone"))
        watching = asyncio.create_task(watch(looks, poll_seconds=0.001))  # type: ignore[arg-type]
        await asyncio.wait_for(looks.done.wait(), 10)
        watching.cancel()
        await asyncio.wait([watching])

    asyncio.run(scenario())
    assert "the model repository could not be read" in caplog.text
    assert "the disk has gone" in caplog.text
