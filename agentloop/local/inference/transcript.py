"""Tokens become text as they come: nothing is said that a later token could change."""

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream


class Transcript:
    """The text of one sequence, cut before the first of `stops`."""

    def __init__(self, tokenizer: Any, stops: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stops = tuple(stops)
        self._stream = DecodeStream(skip_special_tokens=False)
        self._ids: list[int] = []
        self._decoded = ""
        self._held = ""
        """Decoded, but perhaps the beginning of a stop."""
        self.stopped = False
        """Whether a stop was written. What comes after it is not text."""

    def add(self, token: int) -> str:
        """Take a token; the text that is certain now and was not before."""
        self._ids.append(token)
        piece = self._stream.step(self._tokenizer.backend_tokenizer, token)
        return self._say(piece or "")

    def end(self) -> str:
        """The rest of the text."""
        if self.stopped:
            return ""
        # Bytes that are no whole character yet are still in the stream.
        whole: str = self._tokenizer.decode(self._ids, skip_special_tokens=False)
        rest = whole[len(self._decoded) :] if whole.startswith(self._decoded) else ""
        said = self._say(rest)
        if not self.stopped:
            said += self._held
            self._held = ""
        return said

    def _say(self, piece: str) -> str:
        if self.stopped or not piece:
            return ""
        self._decoded += piece
        if not self._stops:
            return piece
        text = self._held + piece
        ends = [at for stop in self._stops if (at := text.find(stop)) >= 0]
        if ends:
            self.stopped = True
            return text[: min(ends)]
        certain = len(text) - max(_overlap(text, stop) for stop in self._stops)
        self._held = text[certain:]
        return text[:certain]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` may be the beginning of `stop`."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
