"""The stock uvicorn that the rivals' applications stand on."""

from typing import Any

import uvicorn


def serve(application: Any, port: int) -> None:
    """Serves an ASGI application on uvloop and httptools until the process is ended. It logs no requests."""
    uvicorn.run(
        application,
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
