"""Near duplicates: MinHash finds what may be alike, and the shingles themselves decide."""

import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import islice
from tempfile import TemporaryFile
from typing import Generic, NamedTuple, TypeVar
from weakref import finalize

from rensa import RMinHash, RMinHashLSH

from agentloop.base.errors import ConfigError
from agentloop.base.records import (
    DPOExample,
    Example,
    KTOExample,
    Message,
    RFTExample,
    SFTExample,
)
from agentloop.base.records.message import canonical, digest

THRESHOLD = 0.9
"""The share of shingles, in (0, 1], from which two texts count as one. Of the 185 rows
that `traces/shop.jsonl` gives, all about orders and from few templates, 0.9 takes none for
another; see `LOG.md`."""
SHINGLE = 5
"""Words to a shingle. A number that differs changes five of them, so that two short conversations
about different orders are far apart."""
SLOTS = 192
"""Numbers in a signature, at most."""
RECALL = 0.99
"""The probability with which two texts as alike as the threshold are compared at all."""
SEED = 4

T = TypeVar("T")
K = TypeVar("K")

UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF)),
    *((0x3005, 0x3005), (0x3040, 0x30FF), (0x31F0, 0x31FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)
"""Where the scripts stand that put no spaces between words (Thai, Lao, Burmese, Khmer; Japanese,
Chinese): each character counts as a word."""


class _Spacing(dict[int, str]):
    """What becomes of a character, so that words can be split at spaces: punctuation is one, and
    all else is in a word, combining marks and emoji too."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if any(first <= code <= last for first, last in UNSPACED):
            spaced = f" {character} "
        elif character == "_" or character.isalnum():
            spaced = character
        else:
            kind = unicodedata.category(character)
            between = code < 128 or kind[0] in "PZ" or kind in ("Cc", "Cf")
            spaced = " " if between else character
        self[code] = spaced
        return spaced


SPACING = _Spacing()


def words(text: str) -> list[str]:
    """The words of a text, in order: without case, punctuation, and forms that mean the same.

    >>> words("Où est l'ordre 42?"), words("注文42は")
    (['où', 'est', 'l', 'ordre', '42'], ['注', '文', '42', 'は'])
    """
    if text.isascii():
        return text.lower().translate(SPACING).split()
    return unicodedata.normalize("NFKC", text).casefold().translate(SPACING).split()


def runs(said: Sequence[str], length: int) -> Iterator[str]:
    """Every `length` words that follow each other; of fewer words, all of them as one."""
    if len(said) <= length:
        return iter([" ".join(said)] if said else [])
    return map(" ".join, zip(*(islice(said, n, None) for n in range(length)), strict=False))


def shingles(text: str) -> frozenset[str]:
    """The shingles of a text: every `SHINGLE` words that follow each other."""
    return frozenset(runs(words(text), SHINGLE))


def jaccard(a: frozenset[T], b: frozenset[T]) -> float:
    """What two sets share, of what they have together, in [0, 1]; two empty ones are alike.

    >>> jaccard(frozenset("abcd"), frozenset("bcde"))
    0.6
    """
    common = len(a & b)
    together = len(a) + len(b) - common
    return common / together if together else 1.0


# ---------------------------------------------------------------------- what an example says


def texts(example: Example) -> tuple[str, ...]:
    """What an example says, and what it teaches, each as a text of its own.

    First all that users, the assistant and tools say, calls of tools among it; then what is
    learned: the answers that are not masked; the better and the worse answer; the reference. What
    all rows share, the system prompt and the tools at hand, is left out.
    """
    context = _said(example.context)
    match example:
        case SFTExample():
            weights = iter(example.weights)
            answers = [m for m in example.context if m.role == "assistant"]
            learned = [m for m in answers if next(weights, 1)]
            answer = _said([example.output])
            return f"{context}\n{answer}", f"{_said(learned)}\n{answer}"
        case DPOExample():
            better, worse = _said([example.preferred]), _said([example.rejected])
            return f"{context}\n{better}\n{worse}", better, worse
        case KTOExample():
            answer = _said([example.answer])
            return f"{context}\n{answer}", answer, "good" if example.label else "bad"
        case RFTExample():
            return context, canonical(example.fields).decode()
    raise TypeError(f"no text is known of a {type(example).__name__}")


def _said(messages: Iterable[Message]) -> str:
    return "\n".join(
        piece
        for message in messages
        if message.role not in ("system", "developer")
        for piece in pieces(message)
    )


def pieces(message: Message) -> Iterator[str]:
    """What a message says: its text, its calls of tools, and a name for what is no text."""
    if isinstance(message.content, list):
        for part in message.content:
            yield str(part.get("text") or digest(canonical(part)))
    elif message.content:
        yield message.content
    for call in message.calls:
        yield call.function.name
        yield call.function.arguments
    for key, value in (message.model_extra or {}).items():
        if value and key not in ("name", "weight"):
            yield value if isinstance(value, str) else canonical(value).decode()


# ---------------------------------------------------------------------- what is alike


class Banding(NamedTuple):
    """How a signature is cut: texts that agree in all numbers of some band are compared."""

    bands: int
    rows: int

    @property
    def slots(self) -> int:
        """Numbers in a signature."""
        return self.bands * self.rows

    def found(self, alike: float) -> float:
        """The probability that two texts with this Jaccard similarity are compared.

        >>> round(Banding(20, 5).found(0.8), 4)
        0.9996

        Source: J. Leskovec, A. Rajaraman, J. Ullman, "Mining of Massive Datasets", 3.4.2; the
        example is a row of its table for 20 bands of 5.
        """
        return float(1 - (1 - alike**self.rows) ** self.bands)


@cache
def banding(threshold: float) -> Banding:
    """The bands that spare the most comparisons, and miss few that are as alike as `threshold`.

    >>> banding(0.9)
    Banding(bands=16, rows=12)
    """
    for rows in range(16, 1, -1):
        cut = Banding(SLOTS // rows, rows)
        if cut.found(threshold) >= RECALL:
            return cut
    return Banding(SLOTS, 1)


class Outline(NamedTuple):
    """What comparing needs of a text in several parts: it may be made anywhere, and sent."""

    sizes: tuple[int, ...]
    """How many shingles each part has."""
    hashes: bytes
    """Of all shingles, part after part, 8 bytes each; the same in every process."""
    signature: RMinHash
    """Of the first part."""


def outline(*parts: str, threshold: float = THRESHOLD) -> Outline:
    """The outline of a text, for a `Near` with the same threshold.

    Args:
        parts: a text, or several that must each be nearly the same. The first says which are
            compared, so it is the one that differs the most.
    """
    sets = [list(shingles(part)) for part in parts]
    hashed = RMinHash.hash_token_sets(sets)
    signature = RMinHash(banding(threshold).slots, SEED)
    signature.update(sets[0])
    hashes = array("Q")
    for part in hashed:
        hashes.extend(part)
    return Outline(tuple(map(len, sets)), hashes.tobytes(), signature)


class Near(Generic[K]):
    """Texts so far, by ids of any kind, and which of them a further one is nearly the same as.

    Two are nearly the same when the Jaccard similarity of their shingles reaches the threshold; of
    several parts, in each of them. MinHash only says which to compare: it errs by missing a pair
    (below 1 % as alike as the threshold, fewer the more alike), never by naming one.

    Memory holds about 1.7 kB for each text that is kept, whatever its length: the index. Its
    shingles, 8 bytes each, wait in a temporary file until something like it comes.

    The same texts in the same order give the same answers, in every process.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        """
        Args:
            threshold: the similarity from which two texts count as one, in (0, 1]; at 1.0 they
                may differ in case and punctuation alone.

        Raises:
            ConfigError: the threshold is outside.
        """
        if not 0.0 < threshold <= 1.0:
            raise ConfigError(f"near is above 0 and at most 1, not {threshold!r}; 0.9 is usual")
        self.threshold = threshold
        cut = banding(threshold)
        self._index = RMinHashLSH(threshold, cut.slots, cut.bands)
        self._ids: list[K] = []
        self._sizes: list[tuple[int, ...]] = []
        self._starts = array("Q")
        self._end = 0
        self._file = TemporaryFile(buffering=0)  # noqa: SIM115
        finalize(self, self._file.close)

    def __len__(self) -> int:
        """How many texts are kept."""
        return len(self._ids)

    def seen(self, id: K, *parts: str) -> K | None:
        """The id of the first kept text that is nearly the same; None, and this one is kept."""
        one = self.outline(*parts)
        found = self.first(one)
        if found is None:
            self.keep(id, one)
        return found

    def outline(self, *parts: str) -> Outline:
        """What comparing needs of a text."""
        return outline(*parts, threshold=self.threshold)

    def first(self, one: Outline) -> K | None:
        """The id of the first kept text that is nearly the same, if any; nothing is kept."""
        return next(self.alike(one), None)

    def alike(self, one: Outline) -> Iterator[K]:
        """The ids of all kept texts that are nearly the same, in the order they were kept."""
        candidates = sorted(self._index.query(one.signature))
        if candidates:
            sets = _sets(one.sizes, one.hashes)
            for at in candidates:
                if self._may_be(one.sizes, self._sizes[at]) and self._is(sets, at):
                    yield self._ids[at]

    def keep(self, id: K, one: Outline) -> None:
        """Keep a text, whatever it is like."""
        self._index.insert(len(self._ids), one.signature)
        self._ids.append(id)
        self._sizes.append(one.sizes)
        self._starts.append(self._end)
        self._file.seek(self._end)
        self._end += self._file.write(one.hashes)

    def _may_be(self, sizes: tuple[int, ...], others: tuple[int, ...]) -> bool:
        """Whether sets of these sizes can reach the threshold: where all of the smaller is in the
        larger."""
        if len(sizes) != len(others):
            return False
        pairs = zip(sizes, others, strict=True)
        return all(min(a, b) >= self.threshold * max(a, b) for a, b in pairs)

    def _is(self, sets: Sequence[frozenset[int]], at: int) -> bool:
        sizes = self._sizes[at]
        self._file.seek(self._starts[at])
        theirs = _sets(sizes, self._file.read(8 * sum(sizes)))
        return all(jaccard(a, b) >= self.threshold for a, b in zip(sets, theirs, strict=True))


def _sets(sizes: tuple[int, ...], hashes: bytes) -> list[frozenset[int]]:
    numbers = iter(array("Q", hashes))
    return [frozenset(islice(numbers, size)) for size in sizes]
