"""The door of a server: key, time limit, log, figures, and no answer that tells more than it should."""

import asyncio
import hmac
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from predgen.serving.counts import ServerFigures
from predgen.serving.logs import EVENTS

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Inner = Callable[[Message, Receive, Send], Awaitable[None]]

GONE = 499
"""Status, in log and figures alone, of a request whose client did not wait for the answer."""


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Guard:
    """ASGI middleware around everything.

    Args:
        app: What answers.
        figures: Counts requests.
        api_key: Key that requests have to bring; None: none.
        is_open: Tells paths for which no key is needed.
        timeout_s: Time for a request's body; handlers keep the rest of it by `scope["state"]["deadline"]`.
    """

    def __init__(
        self,
        app: Inner,
        *,
        figures: ServerFigures,
        api_key: str | None,
        is_open: Callable[[str], bool],
        timeout_s: float,
    ) -> None:
        self.app = app
        self._figures = figures
        self._key = None if api_key is None else f"Bearer {api_key}".encode("ascii")
        self._is_open = is_open
        self._timeout_s = timeout_s

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call = _Call(scope, send, time.monotonic(), uuid.uuid4().hex)
        scope.setdefault("state", {}).update(deadline=call.start + self._timeout_s, facts=call.facts)
        try:
            if self._key is not None and not self._is_open(scope["path"]) and not self._has_key(scope):
                message = "give the server's key as the header `Authorization: Bearer KEY`"
                await call.refuse(401, message, {"WWW-Authenticate": "Bearer"})
            else:
                await self.app(scope, call.receiving(receive, self._timeout_s), call.send)
        except ClientGoneError:
            call.status = GONE
        except Exception:  # told in the log, and nowhere else
            EVENTS.exception("failed", extra={"facts": {"id": call.id}})
            await call.refuse(500, f"the server failed; its log says why, at request {call.id}")
        except asyncio.CancelledError:
            call.status = call.status or GONE
            raise
        finally:
            self._note(call)

    def _has_key(self, scope: Message) -> bool:
        """Whether a request brings the key."""
        brought = [value for name, value in scope["headers"] if name == b"authorization"]
        return self._key is not None and any(hmac.compare_digest(value, self._key) for value in brought)

    def _note(self, call: "_Call") -> None:
        """Write what happened into log and figures."""
        seconds = time.monotonic() - call.start
        route = getattr(call.scope.get("route"), "path", "other")
        self._figures.request(route, call.status, seconds)
        facts = {
            "id": call.id,
            "method": call.scope["method"],
            "path": call.scope["path"][:200],
            "status": call.status,
            "ms": round(1000 * seconds, 2),
            "client": (call.scope.get("client") or ("",))[0],
            **call.facts,
        }
        EVENTS.info("request", extra={"facts": facts})


class _Call:
    """One request on its way."""

    def __init__(self, scope: Message, send: Send, start: float, name: str) -> None:
        self.scope, self.start, self.id = scope, start, name
        self.status = 0
        self.facts: dict[str, Any] = {}
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass on a part of the answer, named by the request's id."""
        if self.status == GONE:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.id.encode("ascii"))]
        await self._send(message)

    async def refuse(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        """Answer with an error, unless an answer has begun."""
        if self.status:
            return
        answer = JSONResponse({"detail": message, "message": message}, status, headers)
        await answer(self.scope, _nothing, self.send)

    def receiving(self, receive: Receive, timeout_s: float) -> Receive:
        """Limit the time for a body that comes in small pieces; afterwards, wait as long as the app likes."""
        is_whole = False

        async def limited() -> Message:
            nonlocal is_whole
            if is_whole:
                return await receive()
            left = self.start + timeout_s - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), max(left, 0.0))
            except TimeoutError:
                raise HTTPException(408, f"the request's body did not come within {timeout_s:g} s") from None
            if message["type"] == "http.disconnect":
                self.status = GONE  # what fastapi makes of it, "400", reaches nobody
                raise ClientGoneError
            is_whole = not message.get("more_body", False)
            return message

        return limited


async def _nothing() -> Message:
    """What a request that is refused is not asked for."""
    return {"type": "http.disconnect"}
