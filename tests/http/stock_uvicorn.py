"""Serves the application as any ASGI server would: uvicorn as it comes, without anything of app/server.py."""

import logging
import socket
import sys

import uvicorn

from app.main import create_app
from app.settings import Settings
from app.telemetry.logging import logging_to

settings = Settings.load()
with logging_to(sys.stderr, settings.log_format), socket.create_server((settings.host, settings.port)) as listener:
    host, port = listener.getsockname()
    logging.getLogger("bonsai").info("listening", extra={"fields": {"url": f"http://{host}:{port}"}})
    uvicorn.Server(uvicorn.Config(create_app(settings), log_config=None)).run(sockets=[listener])
