"""What near duplicates cost: traces a second and peak memory, and what is found of duplicates that
were planted, against datasketch over the same shingles."""

import random
import resource
from collections.abc import Iterator
from importlib.util import find_spec
from time import process_time
from typing import Any, NamedTuple

from agentloop.harvest.duplicates import THRESHOLD, Near, banding, jaccard, shingles

BAR_SECONDS = 60.0
BAR_MB = 1_000
TRACES = 100_000
PEER = 2_000
"""Traces of the peer's run: its cost for each does not fall with their number."""
PLANTED = 20
"""Every so manieth trace is an earlier one with a word or two changed."""
STOCK = [
    "Thank you for your patience. I have looked into it and found the following for you.",
    "Is there anything else that I can help you with today?",
    "I am sorry to hear that. Let me check what happened with this one.",
    "The carrier was handed the parcel and will deliver it within two working days.",
]


class Trace(NamedTuple):
    """What a trace says, what it teaches, and the trace that it is nearly the same as."""

    said: str
    taught: str
    like: str | None


def measure(*, quick: bool = False) -> dict[str, Any]:
    """Conversations of about 230 words, of which a third are stock phrases."""
    many = 5_000 if quick else TRACES
    near: Near[str] = Near()
    found, seconds = {}, 0.0
    before = _peak_mb()
    for n, trace in enumerate(traces(many)):
        began = process_time()
        found[n] = near.seen(str(n), trace.said, trace.taught)
        seconds += process_time() - began
    peak = _peak_mb()
    planted, right, wrong = _counted(many, found)
    ours = many / seconds
    peers: dict[str, float] = {}
    absent = []
    if find_spec("datasketch"):
        peers["datasketch"] = round(_datasketch(500 if quick else PEER), 1)
    else:
        absent.append("datasketch")
    baseline = peers.get("datasketch")
    return {
        "unit": "traces a second of processor time, both on one core",
        "ours": round(ours, 1),
        "peers": peers,
        "absent": absent,
        "baseline": baseline,
        "ratio": round(ours / baseline, 2) if baseline else None,
        "traces": many,
        "seconds": round(seconds, 1),
        "bar": {"seconds": BAR_SECONDS, "peak_mb": BAR_MB, "traces": TRACES},
        "holds": seconds * TRACES / many < BAR_SECONDS and peak < BAR_MB,
        "peak_mb": round(peak),
        "bytes_a_kept_trace": round((peak - before) * 1e6 / len(near)),
        "planted": planted,
        "recall": round(right / planted, 4),
        "precision": round(right / (right + wrong), 4) if right + wrong else None,
    }


def traces(many: int) -> Iterator[Trace]:
    """The same conversations for the same number. Memory holds a hundred of them."""
    dice = random.Random(3)
    vocabulary = [f"{a}{b}{c}" for a in "bdkmst" for b in "aeiou" for c in "lnrstp"] * 10
    vocabulary = [f"{word}{n % 10}" for n, word in enumerate(vocabulary)]
    recent: list[tuple[str, str, str]] = []
    for n in range(many):
        if n % PLANTED == 0 and recent:
            like, said, taught = dice.choice(recent)
            words = said.split()
            words[dice.randrange(20)] = "changed"
            yield Trace(" ".join(words), taught, like)
            continue
        turns = [
            f"{' '.join(dice.choices(vocabulary, k=30))} {dice.choice(STOCK)}" for _ in range(5)
        ]
        taught = turns[-1]
        said = " ".join(turns)
        recent = [*recent[-99:], (str(n), said, taught)]
        yield Trace(said, taught, None)


def _counted(many: int, found: dict[int, str | None]) -> tuple[int, int, int]:
    """How many were planted above the threshold, how many of them were found, and how many were
    named that are not as alike as that; by comparing the shingles."""
    planted = right = wrong = 0
    said: dict[str, Trace] = {}
    for n, trace in enumerate(traces(many)):
        if trace.like is not None:
            other = said[trace.like]
            alike = jaccard(shingles(trace.said), shingles(other.said)) >= THRESHOLD
            planted += alike
            right += alike and found[n] == trace.like
            wrong += found[n] is not None and not alike
        else:
            wrong += found[n] is not None
            said[str(n)] = trace
            if len(said) > 200:
                said.pop(next(iter(said)))
    return planted, right, wrong


def _datasketch(many: int) -> float:
    """Traces a second of a signature, a query and an insertion, with bands as ours."""
    from datasketch import MinHash, MinHashLSH

    cut = banding(THRESHOLD)
    index = MinHashLSH(num_perm=cut.slots, params=(cut.bands, cut.rows))
    seconds = 0.0
    for n, trace in enumerate(traces(many)):
        began = process_time()
        signature = MinHash(num_perm=cut.slots, seed=1)
        signature.update_batch([shingle.encode() for shingle in shingles(trace.said)])
        if not index.query(signature):
            index.insert(str(n), signature)
        seconds += process_time() - began
    return many / seconds


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
