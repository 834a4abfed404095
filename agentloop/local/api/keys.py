"""Who may ask: the key, and without one only programs on this machine that mean to."""

import hmac
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from agentloop.local.api.refusals import WireError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""Hosts that nobody else can reach."""


class Gate:
    """Stands before the application. `/health` is open; it says nothing about anybody's data."""

    def __init__(self, app: ASGIApp, *, key: str | None) -> None:
        self._app = app
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] != "/health":
            headers = Headers(scope=scope)
            refusal = self._refusal(headers) if self._key else _foreign(headers)
            if refusal is not None:
                await refusal.response(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> WireError | None:
        given = headers.get("authorization", "")
        if not given:
            return WireError(
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                status=401,
            )
        if hmac.compare_digest(given.encode(), f"Bearer {self._key}".encode()):
            return None
        return WireError("Incorrect API key provided.", status=401, code="invalid_api_key")


def _foreign(headers: Headers) -> WireError | None:
    """Without a key, a web page that is open in somebody's browser must not get in.

    Its requests carry its origin, or, where a name was made to point here, that name as host.
    """
    origin, host = headers.get("origin"), headers.get("host", "")
    for address in [f"//{host}", *([origin] if origin is not None else [])]:
        if urlsplit(address).hostname not in LOOPBACK:
            return WireError(
                f"Requests that come from or are meant for {address.lstrip('/')!r} need a key: "
                "set AGENTLOOP_LOCAL_KEY on the server.",
                status=403,
            )
    return None
