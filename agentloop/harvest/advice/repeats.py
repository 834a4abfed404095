"""What many corrections have in common, or many comments: one instruction, said again and again.

What every person puts right in the same way is cheaper said once, in the prompt. A correction is
compared with what it corrects: how long the two are, how they begin and end, what was added and
what was left out. A comment counts where it says what the run itself does not.

Only what `SHARE` of the corrections have in common, and `SUPPORT` of them at least, is told.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from statistics import median
from typing import NamedTuple

from agentloop.base.records import Message, Record

SHARE = 0.6
"""Of the corrections that must have it in common: clearly the most, and not half by chance."""
SHARE_OF_COMMENTS = 0.4
"""The same of comments, in which people say one thing in many words."""
SUPPORT = 10
"""Corrections (or comments) that have it in common, at least."""
LATEST = 500
"""Corrections, and comments, that are looked at: the latest."""
SHORTER = 0.7
"""Of the words that were said, a correction that is shorter has so many at most, and one that is
longer that much more at least."""
MOST = 3
"""Phrases that are told of a kind."""
WORDS = 400
"""Words of a text that are looked at."""
LONGEST = 24
"""Words of the longest phrase that is looked for."""


class Change(NamedTuple):
    """What a model said, and what a person wrote in its place."""

    said: Message
    right: Message
    asked: str = ""
    """What the user had said before."""


class Comment(NamedTuple):
    """What a person said of a run that had not gone well."""

    text: str
    run: str = ""
    """What was said in the run: what it is about, and no instruction."""


class Repeat(Record):
    """Something that many corrections (or comments) have in common."""

    what: str
    """A sentence with its figures."""
    n: int
    total: int
    told: bool = False
    """Whether the prompt says it already."""

    @property
    def share(self) -> float:
        return self.n / self.total


def repeats(
    changes: Iterable[Change], comments: Iterable[Comment] = (), *, prompts: Sequence[str] = ()
) -> tuple[Repeat, ...]:
    """What they have in common; what most do stands first.

    Args:
        changes, comments: at most `LATEST` of each are looked at, the first.
        prompts: what the agents are told today: to say it again does not help.
    """
    changes = list(changes)[:LATEST]
    texts = [_Texts.of(c) for c in changes if c.said.text and c.right.text and not c.right.calls]
    told = " ".join(" ".join(_words(prompt)) for prompt in prompts)
    found = [
        *_lengths(texts, told),
        *_phrases(texts, told),
        *_named(texts),
        *_marks(texts),
        *_calls(changes),
        *_comments(list(comments)[:LATEST], told),
    ]
    return tuple(sorted(found, key=lambda one: (one.told, -one.share)))


class _Texts(NamedTuple):
    """A correction of a text, word by word."""

    said: list[str]
    right: list[str]
    asked: frozenset[str]
    before: str
    after: str

    @classmethod
    def of(cls, change: Change) -> "_Texts":
        before, after = change.said.text, change.right.text
        return cls(_words(before), _words(after), frozenset(_words(change.asked)), before, after)


_WORD = re.compile(r"\w+(?:['’\-.]\w+)*")


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold().replace("’", "'"))[:WORDS]


def _told(n: int, of: int, share: float = SHARE) -> bool:
    """Whether that is often enough to be told."""
    return n >= SUPPORT and n >= share * of


# ---------------------------------------------------------------------- how long

_ASKED_FOR = {
    "shorter": ("short", "brief", "concise", "terse", "sentence", "sentences", "words"),
    "longer": ("detail", "detailed", "thorough", "thoroughly", "complete", "explain"),
}
"""Words of a prompt that asks for it already; English."""


def _lengths(texts: Sequence[_Texts], told: str) -> Iterator[Repeat]:
    ratios = [len(one.right) / len(one.said) for one in texts if one.said]
    if not ratios:
        return
    middle = f"(median {median(ratios):.1f} of the words)"
    sides = {
        "shorter": [r for r in ratios if r <= SHORTER],
        "longer": [r for r in ratios if r >= 1 / SHORTER],
    }
    for side, there in sides.items():
        if _told(len(there), len(ratios)):
            asked = any(word in told.split() for word in _ASKED_FOR[side])
            what = f"{len(there)} of {len(ratios)} corrections are {side} {middle}"
            yield Repeat(what=what, n=len(there), total=len(ratios), told=asked)


# ---------------------------------------------------------------------- words added, or left out


def _phrases(texts: Sequence[_Texts], told: str) -> Iterator[Repeat]:
    """How corrections begin and end, then what else they add and leave out."""
    ways = (
        ("begin with", "end with", "add", [_Pair(t.right, t.said) for t in texts], told),
        ("leave out", "leave out", "leave out", [_Pair(t.said, t.right) for t in texts], ""),
    )
    known: list[str] = []
    for begin, end, anywhere, pairs, before in ways:
        found = [
            *((begin, *edge) for edge in _edge(pairs, lambda words, n: words[:n])),
            *((end, *edge) for edge in _edge(pairs, lambda words, n: words[-n:])),
            *((anywhere, *phrase) for phrase in _longest(pairs, SHARE, shortest=3)),
        ]
        for how, phrase, n in found:
            if any(f" {a} " in f" {b} " for k in known for a, b in ((phrase, k), (k, phrase))):
                continue
            known.append(phrase)
            what = f"{n} of {len(texts)} corrections {how} {phrase!r}"
            already = f" {phrase} " in f" {before} "
            yield Repeat(what=what, n=n, total=len(texts), told=already)


class _Pair:
    """Words, and a text in which a phrase must not stand to count among them."""

    def __init__(self, words: list[str], other: list[str]) -> None:
        self.words = words
        self.text, self._other = f" {' '.join(words)} ", f" {' '.join(other)} "

    def alone(self, phrase: str) -> bool:
        """Whether the phrase stands here, and not there."""
        return f" {phrase} " in self.text and f" {phrase} " not in self._other


def _edge(
    pairs: Sequence[_Pair], cut: Callable[[list[str], int], list[str]]
) -> Iterator[tuple[str, int]]:
    """The longest phrase that stands at this edge of enough of them."""
    for n in range(LONGEST, 0, -1):
        edges = ((pair, " ".join(cut(pair.words, n))) for pair in pairs if len(pair.words) >= n)
        counts = Counter(phrase for pair, phrase in edges if pair.alone(phrase))
        if counts:
            ((phrase, count),) = counts.most_common(1)
            if _told(count, len(pairs)):
                yield phrase, count
                return


def _longest(pairs: Sequence[_Pair], share: float, *, shortest: int) -> Iterator[tuple[str, int]]:
    """The phrases that stand in enough of them, `MOST` at most, but those inside a longer one that
    does so nearly as often, and those that are another window of one that is longer still."""
    kept: dict[str, int] = {}
    often = _often([pair.words for pair in pairs], share, shortest)
    for phrase, there in sorted(often.items(), key=lambda x: (-len(x[0].split()), -x[1], x[0])):
        if len(kept) == MOST:
            return
        if any(there <= 1.2 * n and f" {phrase} " in f" {k} " for k, n in kept.items()):
            continue
        if any(_overlap(phrase, k) for k in kept):
            continue
        n = sum(pair.alone(phrase) for pair in pairs)
        if _told(n, len(pairs), share):
            kept[phrase] = n
            yield phrase, n


def _often(texts: Sequence[list[str]], share: float, shortest: int) -> dict[str, int]:
    """The phrases that stand in enough texts, and in how many. A phrase stands nowhere where a part
    of it does not, so that few long ones are looked at."""
    found: dict[str, int] = {}
    places = [set(range(len(words))) for words in texts]
    for size in range(shortest, LONGEST + 1):
        made = [
            {n: tuple(words[n : n + size]) for n in there if n + size <= len(words)}
            for words, there in zip(texts, places, strict=True)
        ]
        counts = Counter(phrase for one in made for phrase in set(one.values()))
        often = {phrase for phrase, n in counts.items() if _told(n, len(texts), share)}
        if not often:
            break
        found |= {" ".join(phrase): counts[phrase] for phrase in often}
        # One word more can stand often only where both halves of it do.
        goes_on = [{n for n, phrase in one.items() if phrase in often} for one in made]
        places = [{n for n in there if n + 1 in there} for there in goes_on]
    return found


def _overlap(one: str, other: str) -> bool:
    """Whether the last words of one, three or more, are the first of the other."""
    a, b = one.split(), other.split()
    return any(a[-n:] == b[:n] or b[-n:] == a[:n] for n in range(3, min(len(a), len(b))))


def _named(texts: Sequence[_Texts]) -> Iterator[Repeat]:
    """Numbers, and names that hold one: what the user named, and the answer did not."""
    n = 0
    for one in texts:
        numbers = {word for word in one.asked if any(c.isdigit() for c in word)}
        n += bool((numbers & set(one.right)) - set(one.said))
    if _told(n, len(texts)):
        what = f"{n} of {len(texts)} corrections add the number that the user named"
        yield Repeat(what=what, n=n, total=len(texts))


# ---------------------------------------------------------------------- how it is set

_MARKS = {
    "a list": r"(?m)^\s*(?:[-*•]|\d+[.)])\s",
    "headings or bold type": r"(?m)^#{1,6} |\*\*\S",
    "an exclamation mark": r"!",
    "a question at the end": r"\?\W*\Z",
    "a link": r"https?://",
    "an emoji": "[\U0001f300-\U0001faff\u2600-\u27bf]",
}


def _marks(texts: Sequence[_Texts]) -> Iterator[Repeat]:
    total = len(texts)
    for name, pattern in _MARKS.items():
        mark = re.compile(pattern)
        there = [(bool(mark.search(t.before)), bool(mark.search(t.after))) for t in texts]
        for how, change in (("add", (False, True)), ("leave out", (True, False))):
            n = there.count(change)
            if _told(n, total):
                what = f"{n} of {total} corrections {how} {name}"
                yield Repeat(what=what, n=n, total=total)


# ---------------------------------------------------------------------- calls of tools


def _calls(changes: Sequence[Change]) -> Iterator[Repeat]:
    made = Counter(how for change in changes if (how := _call(change)))
    for how, n in made.items():
        if _told(n, len(changes)):
            yield Repeat(what=f"{n} of {len(changes)} corrections {how}", n=n, total=len(changes))


def _call(change: Change) -> str | None:
    """Which call a correction makes in the place of which; None where both are answers."""
    said = " and ".join(sorted({call.function.name for call in change.said.calls}))
    right = " and ".join(sorted({call.function.name for call in change.right.calls}))
    if not said and not right:
        return None
    if not right:
        return f"answer where {said} was called"
    if not said:
        return f"call {right} where the model answered"
    if said == right:
        return f"call {right} with other arguments"
    return f"call {right} in the place of {said}"


# ---------------------------------------------------------------------- comments


def _comments(comments: Sequence[Comment], told: str) -> Iterator[Repeat]:
    pairs = [_Pair(_words(one.text), _words(one.run)) for one in comments]
    for phrase, n in _longest(pairs, SHARE_OF_COMMENTS, shortest=1):
        if any(len(word) >= 4 and not word.isdigit() for word in phrase.split()):
            what = f"{n} of {len(comments)} comments say {phrase!r}"
            already = f" {phrase} " in f" {told} "
            yield Repeat(what=what, n=n, total=len(comments), told=already)
