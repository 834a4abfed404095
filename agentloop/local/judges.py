"""Judges of graders: models that this server has are asked here, others as its environment says.

Which address a model is asked at is the server's to decide, never the grader's, which may have come
from anybody.
"""

from collections.abc import Iterable

from agentloop.base.records import Json
from agentloop.graders import Address


class OwnJudges:
    """Where models are asked, told to whoever grades: to this process, or to a worker."""

    def __init__(self, url: str | None, key: str | None, models: Iterable[str]) -> None:
        """
        Args:
            url: of the server, without `/v1`; None: it does not listen yet.
            key: what it wants to be shown.
            models: those it has.
        """
        self._url, self._key, self._models = url, key, frozenset(models)

    def __call__(self, model: str) -> Address | None:
        """Where a model is asked; None: nobody knows."""
        if self._url is not None and model in self._models:
            return Address(f"{self._url}/v1", self._key or "none")
        return Address.of_environment(model)

    @property
    def told(self) -> Json:
        """As an assignment tells it. It has the key: it is for a pipe, not for a file."""
        return {"url": self._url, "key": self._key, "models": sorted(self._models)}

    @classmethod
    def of(cls, told: Json) -> "OwnJudges":
        """What `told` said."""
        return cls(told["url"], told["key"], told["models"])
