"""What many people said about an agent in the same way: an instruction that its prompt lacks."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

from agentloop.base.records import Judged, Message, Record

FEWEST = 6
"""So many people's words must say the same."""

SHARE = 0.5
"""And so large a share of all corrections, or of all comments."""

SHORTER, LONGER = 0.7, 1.4
"""Words of a correction for each of the answer, from which it counts as shorter, as longer."""

PHRASE = (2, 6)
"""Words of a phrase, at least and at most."""

ASKED = {
    "shorter": ("short", "brief", "concise", "terse", "few words", "one sentence"),
    "longer": ("detail", "thorough", "at length", "explain"),
}
"""Words by which instructions ask for it already."""

_WORD = re.compile(r"\w+(?:[-'.]\w+)*")
_SENTENCE = re.compile(r"[.!?:;,\n]+")
_NAMED = re.compile(r"\b(?=\w*\d)[\w-]{2,}\b")
"""What a user names and others do not: a number of an order, a code."""


class Repeat(Record):
    """One thing that many corrections or comments have in common."""

    what: str
    """How the sentence "so many of so many corrections …" goes on."""
    where: str
    """`corrections` or `comments`."""
    n: int
    total: int
    asked: bool = False
    """Whether the agent's instructions ask for it already: then another prompt will not help."""

    @property
    def sentence(self) -> str:
        already = ", which the instructions ask for already" if self.asked else ""
        return f"{self.n} of {self.total} {self.where} {self.what}{already}"


class Change(NamedTuple):
    """What somebody made of an answer."""

    answer: Message
    correction: Message
    user: str
    """All that the user had said."""
    instructions: str


class Said:
    """Corrections and comments, as they come by."""

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self._comments: list[str] = []

    def see(self, judged: Judged, agents: Sequence[str]) -> None:
        """Remember what was said of a trace. Nothing else of it is kept."""
        calls = {call.id: call for call in judged.trace.calls if call.agent in agents}
        for opinion in judged.opinions:
            if opinion.comment:
                self._comments.append(opinion.comment)
            call = calls.get(opinion.call_id or "")
            if opinion.correction is None or call is None or call.output is None:
                continue
            said = {"user": "", "system": "", "developer": ""}
            for message in call.context:
                if message.role in said:
                    said[message.role] += f"{message.text}\n"
            instructions = said["system"] + said["developer"]
            change = Change(call.output, opinion.correction, said["user"], instructions)
            self._changes.append(change)

    @property
    def corrections(self) -> int:
        return len(self._changes)

    @property
    def comments(self) -> int:
        return len(self._comments)

    def repeats(self) -> tuple[Repeat, ...]:
        """What they have in common, the most frequent first."""
        found = [*self._of_corrections(), *self._of_comments()]
        return tuple(sorted(found, key=lambda repeat: -repeat.n / repeat.total))

    def _of_corrections(self) -> list[Repeat]:
        changes, total = self._changes, len(self._changes)
        found: list[Repeat] = []
        if total < FEWEST:
            return found

        def tell(what: str, n: int, words: Iterable[str] = ()) -> None:
            found.append(self._repeat(what, n, words))

        ratios = [_ratio(change) for change in changes]
        known = [ratio for ratio in ratios if ratio is not None]
        shorter = [ratio for ratio in known if ratio <= SHORTER]
        longer = [ratio for ratio in known if ratio >= LONGER]
        for name, own in (("shorter", shorter), ("longer", longer)):
            if _many(len(own), total):
                what = f"are {name} (median {median(own):.2f} of the words)"
                tell(what, len(own), ASKED[name])
        naming = sum(bool(_named(change)) for change in changes)
        if _many(naming, total):
            tell("name a number that the user gave and the answer did not", naming)
        calling = [c for c in changes if c.correction.calls and not c.answer.calls]
        if _many(len(calling), total):
            tell("call a tool where the agent answered in words", len(calling))
        waiting = [c for c in changes if c.answer.calls and not c.correction.calls]
        if _many(len(waiting), total):
            tell("answer in words where the agent called a tool", len(waiting))
        added = (_phrases(c.correction.text) - _phrases(c.answer.text) for c in changes)
        for phrase, n in _common(added, total):
            tell(f'say "{phrase}", and the answers did not', n, (phrase,))
        if any(r.what.startswith("are shorter") for r in found):
            return found  # what a shorter text leaves out is no more than that
        dropped = (_phrases(c.answer.text) - _phrases(c.correction.text) for c in changes)
        for phrase, n in _common(dropped, total):
            tell(f'leave out "{phrase}"', n)
        return found

    def _of_comments(self) -> Iterator[Repeat]:
        total = len(self._comments)
        for phrase, n in _common(map(_phrases, self._comments), total):
            yield Repeat(what=f'say "{phrase}"', where="comments", n=n, total=total)

    def _repeat(self, what: str, n: int, words: Iterable[str] = ()) -> Repeat:
        instructions = [" ".join(_words(change.instructions)) for change in self._changes]
        words = tuple(words)
        asking = sum(any(word in text for word in words) for text in instructions)
        return Repeat(
            what=what,
            where="corrections",
            n=n,
            total=len(self._changes),
            asked=bool(words) and asking > len(instructions) / 2,
        )


def _many(n: int, total: int) -> bool:
    return n >= FEWEST and n >= SHARE * total


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _ratio(change: Change) -> float | None:
    before, after = len(_words(change.answer.text)), len(_words(change.correction.text))
    return after / before if before and after else None


def _named(change: Change) -> set[str]:
    new = set(_NAMED.findall(change.correction.text)) - set(_NAMED.findall(change.answer.text))
    return new & set(_NAMED.findall(change.user))


def _phrases(text: str) -> set[str]:
    """All phrases of a text; those with digits say something of one case alone."""
    sentences = map(_words, _SENTENCE.split(text))
    runs = (
        words[start : start + n]
        for words in sentences
        for n in range(PHRASE[0], PHRASE[1] + 1)
        for start in range(len(words) - n + 1)
    )
    return {" ".join(run) for run in runs if not any(c.isdigit() for word in run for c in word)}


def _common(texts: Iterable[set[str]], total: int) -> list[tuple[str, int]]:
    """The phrases that many texts share; of those that overlap, only the longest."""
    if total < FEWEST:
        return []
    counted: Counter[str] = Counter()
    for phrases in texts:
        counted.update(phrases)
    often = {phrase: n for phrase, n in counted.items() if _many(n, total)}
    kept: list[tuple[str, int]] = []
    told: set[tuple[str, ...]] = set()
    for phrase in sorted(often, key=lambda p: (-len(p.split()), -often[p], p)):
        words = phrase.split()
        pairs = {tuple(words[n : n + 2]) for n in range(len(words) - 1)}
        if not pairs & told:
            kept.append((phrase, often[phrase]))
        told |= pairs
    return kept[:3]
