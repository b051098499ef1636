"""The watcher: notices new versions and changed deployments without a restart."""

import asyncio
import logging

from app.repository.repository import Repository

logger = logging.getLogger("bonsai.repository")


async def watch(repository: Repository, poll_seconds: float) -> None:
    """Refreshes the repository now and then every `poll_seconds`, until it is cancelled."""
    while True:
        try:
            await repository.refresh()
        except Exception:  # boundary: a store that cannot be read just now is read again
            logger.exception("the model repository could not be read")
        await asyncio.sleep(poll_seconds)
