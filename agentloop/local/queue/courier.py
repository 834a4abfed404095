"""Webhooks: whoever asked for it is told that a job has ended, once or more, but not never.

What is sent is OpenAI's thin event, signed by the scheme of Standard Webhooks, so that the
`webhooks.unwrap` of OpenAI's client takes it. A job remembers on disk, in the same write as its
end, that somebody must be told; only an answer of success, or the last try, makes it forget.
"""

import base64
import binascii
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx2
import standardwebhooks

from agentloop.base.errors import ConfigError
from agentloop.local.disk.ids import now
from agentloop.local.disk.jobs import Jobs, Owed, TuningJob

log = logging.getLogger(__name__)

URL, SECRET = "AGENTLOOP_LOCAL_WEBHOOK_URL", "AGENTLOOP_LOCAL_WEBHOOK_SECRET"

WAITS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds after each failed try until the next; after the last there is none. Source: the
specification of Standard Webhooks, "Retry schedule"."""

PATIENCE = 15.0
"""Seconds that the receiver has to answer."""

_PREFIX = "whsec_"
_GONE = 410


@dataclass(frozen=True)
class Webhook:
    """Where events go, and what they are signed with."""

    url: str
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Webhook | None":
        """What the environment asks for; None when it asks for nothing.

        Raises:
            ConfigError: there is one of address and secret and not the other, or one is none.
        """
        url, secret = environment.get(URL), environment.get(SECRET)
        if not url and not secret:
            return None
        if not url or not secret:
            there, missing = (URL, SECRET) if url else (SECRET, URL)
            raise ConfigError(f"{there} is set and {missing} is not; set both, or neither")
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"{URL} is {url!r}; it wants an address of http or https")
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            key = b""
        if not secret.startswith(_PREFIX) or not key:
            raise ConfigError(f"{SECRET} wants {_PREFIX} and then the key in base64")
        return cls(url, key)

    def signature(self, id: str, timestamp: int, body: bytes) -> str:
        """The header `webhook-signature`.

        >>> from base64 import b64decode
        >>> hook = Webhook("https://x", b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
        >>> hook.signature(
        ...     "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
        'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='

        Source: the specification of Standard Webhooks, and the vector in its reference libraries.
        """
        at = datetime.fromtimestamp(timestamp, UTC)
        return str(standardwebhooks.Webhook(self.key).sign(id, at, body.decode()))


class Courier:
    """A thread that tells what the jobs owe."""

    def __init__(self, jobs: Jobs, webhook: Webhook, *, waits: Sequence[float] = WAITS) -> None:
        """`waits`: see `WAITS`."""
        self._jobs, self._webhook, self._waits = jobs, webhook, waits
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Begin, with what an earlier server left."""
        self._thread.start()

    def close(self) -> None:
        """End. What is owed is told by the next server."""
        self._closing.set()
        self._jobs.ended.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=PATIENCE)

    def _run(self) -> None:
        with httpx2.Client(timeout=PATIENCE) as client:
            while not self._closing.is_set():
                self._jobs.ended.clear()
                for job, owed in self._jobs.owing():
                    if self._closing.is_set():
                        return
                    if owed.due <= now():
                        self._tell(client, job, owed)
                dues = [owed.due for _, owed in self._jobs.owing()]
                self._jobs.ended.wait(max(0, min(dues) - now()) if dues else None)

    def _tell(self, client: httpx2.Client, job: TuningJob, owed: Owed) -> None:
        event = {
            "id": owed.id,
            "object": "event",
            "created_at": owed.created_at,
            "type": f"fine_tuning.job.{job.status}",
            "data": {"id": job.id},
        }
        try:
            reason = self._post(client, owed.id, json.dumps(event).encode())
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
        try:
            self._settle(job, owed, reason)
        except OSError as full:
            log.warning("cannot write down what became of %s: %s", owed.id, full)
            self._closing.wait(1)

    def _post(self, client: httpx2.Client, id: str, body: bytes) -> str | None:
        """Why it was not taken; None when it was, or when nobody wants it any more."""
        at = now()
        headers = {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": str(at),
            "webhook-signature": self._webhook.signature(id, at, body),
        }
        answer = client.post(self._webhook.url, content=body, headers=headers)
        if answer.is_success or answer.status_code == _GONE:
            return None
        return f"the receiver answered {answer.status_code}"

    def _settle(self, job: TuningJob, owed: Owed, reason: str | None) -> None:
        if reason is None:
            self._jobs.change(job.id, owed=None)
        elif owed.tries < len(self._waits):
            due = now() + round(self._waits[owed.tries])
            self._jobs.change(
                job.id, owed=owed.model_copy(update={"tries": owed.tries + 1, "due": due})
            )
            log.warning("webhook %s of %s: %s", owed.id, job.id, reason)
        else:
            self._jobs.change(job.id, owed=None)
            self._jobs.note(job.id, f"The webhook was given up: {reason}", level="warn")
