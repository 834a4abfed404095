"""Endpoint graders: a server of the author's says what a rollout is worth.

Each rollout is one request, as Microsoft documents it: `{"sample", "item", "trace_id"}` in,
`{"score": 0.7}` out. A server that does not answer in time, or fails four times, leaves the reward
unknown.
"""

import logging
import time
from collections.abc import Callable, Mapping
from math import isfinite
from threading import Lock
from typing import TYPE_CHECKING, Any

from agentloop.base.records import Json
from agentloop.base.records.message import verbatim
from agentloop.graders.schema import Endpoint

if TYPE_CHECKING:
    import httpx2

log = logging.getLogger(__name__)

MOST_BYTES = 1_000_000
"""Of a request, and of an answer."""

SECONDS = 600.0
"""For one request."""

RETRIES = 3
FIRST_PAUSE = 0.5
"""Seconds before the first retry; each is twice the one before."""


class Pace:
    """At most so many a second, from all threads together."""

    def __init__(
        self,
        a_second: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._gap = 0.0 if a_second is None else 1 / a_second
        self._clock, self._pause = clock, pause
        self._lock = Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Return when it is one's turn."""
        if not self._gap:
            return
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._gap
        if turn > now:
            self._pause(turn - now)


class Server:
    """A server that is asked with JSON, again where it fails. Safe to use from several threads."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        rate: float | None = None,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        """
        Args:
            headers: sent with each request, and shown nowhere.
            rate: requests a second, at most.
        """
        self._url, self._headers, self._pause = url, dict(headers), pause
        self._pace = Pace(rate, pause=pause)
        self._client: httpx2.Client | None = None
        self._lock = Lock()

    def close(self) -> None:
        """Give connections back."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def post(self, body: bytes) -> "httpx2.Response | str":
        """What it answers; or, when it fails `RETRIES` times more, why."""
        why = ""
        for attempt in range(1 + RETRIES):
            if attempt:
                self._pause(FIRST_PAUSE * 2 ** (attempt - 1))
            self._pace.wait()
            answer = self._post(body)
            if isinstance(answer, str):
                why = answer
            elif answer.status_code == 429 or answer.status_code >= 500:
                why = f"status {answer.status_code}"
            else:
                return answer
        return why

    def _post(self, body: bytes) -> "httpx2.Response | str":
        import httpx2

        with self._lock:
            if self._client is None:
                self._client = httpx2.Client(timeout=SECONDS)
            client = self._client
        headers = {"content-type": "application/json", **self._headers}
        try:
            return client.post(self._url, content=body, headers=headers)
        except httpx2.HTTPError as error:
            return type(error).__name__


class Asked:
    """The server of an endpoint grader. Safe to use from several threads."""

    def __init__(self, spec: Endpoint, *, pause: Callable[[float], object] = time.sleep) -> None:
        self._spec = spec
        self._server = Server(spec.url, spec.headers, rate=spec.rate_limit, pause=pause)

    def close(self) -> None:
        """Give connections back."""
        self._server.close()

    def score(self, sample: Mapping[str, Any], item: Mapping[str, Any], trace: str) -> float | str:
        """The score, or the error flag that stands for none."""
        body = verbatim({"sample": dict(sample), "item": dict(item), "trace_id": trace})
        if len(body) > MOST_BYTES:
            return self._failed("other_error", f"a request of {len(body)} bytes is too large")
        answer = self._server.post(body)
        if isinstance(answer, str):
            return self._failed("unresponsive_reward_error", answer)
        return self._read(answer)

    def _read(self, answer: "httpx2.Response") -> float | str:
        if answer.status_code != 200:
            return self._failed("other_error", f"status {answer.status_code}")
        if len(answer.content) > MOST_BYTES:
            return self._failed("other_error", f"an answer of {len(answer.content)} bytes")
        try:
            said: Json = answer.json()
            score = said["score"]
        except (ValueError, KeyError, TypeError):
            return self._failed("other_error", 'its answer is not {"score": NUMBER}')
        if isinstance(score, bool) or not isinstance(score, int | float) or not isfinite(score):
            return self._failed("other_error", f"its score is {score!r:.40}")
        return float(score)

    def _failed(self, flag: str, why: str) -> str:
        log.warning("the endpoint grader %r at %s: %s", self._spec.name, self._spec.url, why)
        return flag
