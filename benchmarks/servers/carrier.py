"""Bonsai's application under a stock uvicorn. Settings come from BONSAI_*, as for `bonsai serve`."""

import uvicorn

from app.main import create_app
from app.settings import Settings

if __name__ == "__main__":
    settings = Settings.load()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
    )
