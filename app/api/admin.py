"""The administrator's doors: who may change what the server does."""

from fastapi import Request

from app.errors import Forbidden, UnsupportedMedia, clip

BROWSERS = ("origin", "sec-fetch-site")
"""Headers that a browser sends with every POST and no script can take away (https://fetch.spec.whatwg.org)."""


class Admin:
    """Stands before every door that changes the server's state."""

    def __init__(self, is_open: bool) -> None:
        self._is_open = is_open

    async def __call__(self, request: Request) -> None:
        """Raises Forbidden where these doors are closed, UnsupportedMedia for what a page of another site could send:
        it can have a browser post a form, text or bytes, but no JSON. Other clients may name any type or none.
        """
        if not self._is_open:
            raise Forbidden(f"{clip(request.url.path)}: closed; the server has to be started with BONSAI_ADMIN=true")
        media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if media_type != "application/json" and any(name in request.headers for name in BROWSERS):
            raise UnsupportedMedia(f"content-type: expected application/json, got {clip(media_type) or 'none'}")
