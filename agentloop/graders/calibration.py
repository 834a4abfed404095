"""Calibration: how far a grader and people say the same of the same answers.

Three figures, each with a 95 % interval. Whether both would pass an answer: how often they agree,
and how much more than by chance (Cohen's kappa), which decides. And whether they put the answers
in the same order (Spearman's rho), which is what training climbs.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import correlation
from typing import Literal, NamedTuple

from agentloop.base.errors import ConfigError, GraderError
from agentloop.base.records import Json, Record
from agentloop.base.records.trial import Z95, Interval, Tally
from agentloop.graders.engine import Grader
from agentloop.graders.grade import Grade

ENOUGH = 20
"""Answers with a verdict of a person, below which no figure means anything."""

FEW = 5
"""Good ones and bad ones, each, below which one cannot tell whether a grader tells them apart."""

BAR = 0.6
"""Kappa above which a grader agrees with people: "substantial" begins there.

Source: J. R. Landis and G. G. Koch, "The measurement of observer agreement for categorical data",
Biometrics 33 (1977), 159-174."""

CLEARLY = 0.1
"""How much more kappa another pass mark must give to be worth a word."""

MARKS = 100
"""Pass marks that are tried, at most twice as many."""

SHOWN = 5
"""Disagreements that are named."""

Says = Literal["agrees", "disagrees", "cannot tell yet"]


class Rated(NamedTuple):
    """An answer that a person judged."""

    trace: str
    sample: Json
    """The answer as graders see it: see `sample_of`."""
    item: Json
    """The row it belongs to."""
    score: float
    """What people settled at, in [0, 1]."""


class Figure(Record):
    """A figure and where it plausibly lies, at 95 %."""

    value: float
    low: float
    high: float

    @classmethod
    def within(cls, value: float, interval: Interval) -> "Figure":
        return cls(value=value, low=interval.low, high=interval.high)

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


class Counts(Record):
    """Who passed how many answers."""

    both: int
    grader: int
    """The grader alone: it is too lenient there."""
    people: int
    """People alone: the grader is too strict there."""
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.grader + self.people + self.neither

    @property
    def agreed(self) -> Tally:
        """How often they said the same."""
        return Tally(self.both + self.neither, self.n)

    @property
    def chance(self) -> float:
        """How often they would say the same if neither knew the answer, in [0, 1]."""
        passed, good = self.both + self.grader, self.both + self.people
        return (passed * good + (self.n - passed) * (self.n - good)) / self.n**2

    def accuracy(self) -> Figure:
        """The share of answers of which they say the same, with Wilson's interval."""
        return Figure.within(self.agreed.rate, self.agreed.interval())

    def kappa(self) -> Figure | None:
        """How much more they agree than by chance: 1 always, 0 as chance has it, below 0 less.
        None where all pass or fail with both: then there is nothing to agree on.

        Source: J. Cohen, "A coefficient of agreement for nominal scales", Educational and
        Psychological Measurement 20 (1960), 37-46. As there, chance counts as known; the interval
        of the agreement is Wilson's, so that 20 of 20 is not certainty.

        >>> print(Counts(both=20, grader=5, people=10, neither=15).kappa())
        0.40 (0.12 to 0.62)
        >>> print(Counts(both=10, grader=0, people=0, neither=10).kappa())
        1.00 (0.68 to 1.00)
        """
        chance = self.chance
        if chance == 1.0:
            return None
        low, high = self.agreed.interval()
        beyond = [(rate - chance) / (1 - chance) for rate in (self.agreed.rate, low, high)]
        return Figure(value=beyond[0], low=beyond[1], high=beyond[2])


class Apart(Record):
    """An answer of which the grader and people say different things."""

    trace: str
    people: float
    reward: float


class Calibration(Record):
    """What calibrating a grader found."""

    grader: str
    says: Says
    rated: int
    """Answers with a verdict of a person that were looked at."""
    good: float
    """The lowest verdict that passes, in [0, 1]."""
    passes: float
    """The lowest reward that passes."""
    counts: Counts | None = None
    """None, like all figures: too little is known."""
    accuracy: Figure | None = None
    kappa: Figure | None = None
    spearman: Figure | None = None
    better: float | None = None
    """A pass mark at which they would agree clearly more, on these same answers."""
    failed: dict[str, int] = {}
    """OpenAI's error flags, and how many answers raised each. Such answers count in no figure."""
    apart: tuple[Apart, ...] = ()
    """Where they are furthest apart, at most `SHOWN`."""
    found: tuple[str, ...]
    """What was found, in sentences."""
    next: str
    """What to do next, in one."""


def calibrate(
    grader: Grader,
    rated: Iterable[Rated],
    *,
    good: float = 0.8,
    passes: float | None = None,
    confirm: bool = False,
) -> Calibration:
    """How far `grader` agrees with people about these answers, and what to do next.

    It `agrees` when all of the interval of kappa is at `BAR` or above, `disagrees` when all of it
    is below. Where too few answers are known, nothing is graded.

    Args:
        good: the lowest verdict of people that passes, in [0, 1].
        passes: the lowest reward that passes; by default the grader's own `pass_threshold`, or
            half of a range that it states, or 0.5.
        confirm: a grader that asks a model or a server does so once for each answer.

    Raises:
        GraderError: the grader cannot grade here.
        ConfigError: it would ask others, and `confirm` is not given.
    """
    rated = list(rated)
    passes = _mark(grader) if passes is None else passes
    said = {"grader": grader.name, "rated": len(rated), "good": good, "passes": passes}
    if lack := _lack([one.score >= good for one in rated]):
        return Calibration(**said, says="cannot tell yet", found=lack, next=_RATE)
    if grader.unready:
        raise GraderError(f"{grader.name!r} cannot grade here: {grader.unready}")
    if grader.asks and not confirm:
        raise ConfigError(
            f"{grader.name!r} asks others, {len(rated)} times, which may cost money; "
            "confirm it to go on, or look at fewer answers"
        )
    grades = grader.grade_many((one.sample, one.item) for one in rated)
    failed, sentences = _failures(grades)
    pairs = [(o, g.reward) for o, g in zip(rated, grades, strict=True) if not g.failed]
    if lack := _lack([one.score >= good for one, _ in pairs]):
        found = (*sentences, *lack)
        return Calibration(**said, says="cannot tell yet", failed=failed, found=found, next=_MEND)
    people, rewards = [one.score for one, _ in pairs], [reward for _, reward in pairs]
    passed = [score >= good for score in people]
    counts = _counts(passed, rewards, passes)
    kappa = counts.kappa()
    better = _better(passed, rewards, counts)
    says = _says(kappa)
    apart = sorted(
        (
            Apart(trace=one.trace, people=one.score, reward=reward)
            for one, reward in pairs
            if (one.score >= good) is not (reward >= passes)
        ),
        key=lambda one: -abs(one.reward - passes),
    )[:SHOWN]
    return Calibration(
        **said,
        says=says,
        counts=counts,
        accuracy=counts.accuracy(),
        kappa=kappa,
        spearman=spearman(people, rewards),
        better=better,
        failed=failed,
        apart=tuple(apart),
        found=(*sentences, *_leanings(counts, passes, rewards, better)),
        next=_next(says, counts),
    )


def spearman(a: Sequence[float], b: Sequence[float]) -> Figure | None:
    """Whether `a` and `b` are in the same order: 1 the same, -1 the opposite, 0 neither. Equal
    values share a rank. None where all of one are equal, or there are fewer than four.

    Source of the interval: D. G. Bonett and T. A. Wright, "Sample size requirements for estimating
    Pearson, Kendall and Spearman correlations", Psychometrika 65 (2000), 23-28; it says nothing
    more than the figure where that is 1 or -1.

    >>> iq = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
    >>> television = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    >>> print(spearman(iq, television), -29 / 165)
    -0.18 (-0.73 to 0.51) -0.17575757575757575
    """
    if len(a) < 4 or len(set(a)) == 1 or len(set(b)) == 1:
        return None
    rho = max(-1.0, min(1.0, correlation(_ranks(a), _ranks(b))))
    if abs(rho) > 1 - 1e-12:
        return Figure(value=round(rho), low=round(rho), high=round(rho))
    half = Z95 * math.sqrt((1 + rho * rho / 2) / (len(a) - 3))
    centre = math.atanh(rho)
    return Figure(value=rho, low=math.tanh(centre - half), high=math.tanh(centre + half))


def _ranks(values: Sequence[float]) -> list[float]:
    """The place of each, from 1; the mean place of equal ones."""
    count, before, places = Counter(values), 0, dict[float, float]()
    for value in sorted(count):
        places[value] = before + (count[value] + 1) / 2
        before += count[value]
    return [places[value] for value in values]


def _mark(grader: Grader) -> float:
    """The reward from which an answer passes, as the grader has it."""
    stated = grader.spec.get("pass_threshold")
    if stated is not None:
        return float(stated)
    low, high = grader.spec.get("range") or (0.0, 1.0)
    return float(low + high) / 2


def _counts(passed: Sequence[bool], rewards: Sequence[float], mark: float) -> Counts:
    n = Counter(zip(passed, (reward >= mark for reward in rewards), strict=True))
    return Counts(
        both=n[True, True], grader=n[False, True], people=n[True, False], neither=n[False, False]
    )


def _better(passed: Sequence[bool], rewards: Sequence[float], counts: Counts) -> float | None:
    """The pass mark with the most kappa, where that is clearly more."""

    def kappa(mark: float) -> float:
        figure = _counts(passed, rewards, mark).kappa()
        return figure.value if figure else 0.0

    marks = sorted(set(rewards))
    best = max(marks[:: len(marks) // MARKS + 1], key=kappa)
    now = counts.kappa()
    return best if kappa(best) - (now.value if now else 0.0) >= CLEARLY else None


_RATE = "rate more answers, good ones and bad ones: agentloop rate TRACE up|down"
_MEND = "mend the grader, or give it what it asks for; `agentloop grader run` shows one answer"
_USE = "train with it: agentloop tune DATASET --provider NAME --base MODEL --grader FILE"
_CHANGE = (
    "do not train with it: read the answers they see differently (agentloop traces show TRACE), "
    "change the grader, and calibrate again"
)


def _lack(passed: Sequence[bool]) -> tuple[str, ...]:
    """What is missing before anything can be said."""
    n, good = len(passed), sum(passed)
    if n < ENOUGH:
        return (f"{n} answers with a verdict of a person are known, and {ENOUGH} are needed",)
    if good < FEW or n - good < FEW:
        kinds = f"{good} good and {n - good} bad"
        return (f"of {n} answers people find {kinds}; {FEW} of each are needed",)
    return ()


def _failures(grades: Sequence[Grade]) -> tuple[dict[str, int], tuple[str, ...]]:
    """How many grades raised each flag, and that in a sentence."""
    failed = [grade.errors for grade in grades if grade.failed]
    if not failed:
        return {}, ()
    flags = Counter(name for errors in failed for name, value in errors.items() if value is True)
    told = next((v for errors in failed for v in errors.values() if isinstance(v, str)), None)
    why = ", ".join(f"{name} {n}" for name, n in flags.most_common())
    sentence = f"{len(failed)} of {len(grades)} answers cannot be graded, and count in no figure"
    return dict(flags), (f"{sentence}: {why}" + (f" (first: {told})" if told else ""),)


def _leanings(
    counts: Counts, mark: float, rewards: Sequence[float], better: float | None
) -> tuple[str, ...]:
    """Which way the grader errs."""
    if len(set(rewards)) == 1:
        return (f"it gives all answers the same reward, {rewards[0]:g}: nothing is learned of it",)
    bad, good = counts.grader + counts.neither, counts.both + counts.people
    errs = (
        f"of {bad} answers that people reject it passes {counts.grader}, of {good} that they "
        f"like it rejects {counts.people} (pass mark {mark:g})"
    )
    if better is None:
        return (errs,)
    other = (
        f"at a pass mark of {better:g} they would agree clearly more; it was chosen by these "
        "answers, so try it on others"
    )
    return errs, other


def _says(kappa: Figure | None) -> Says:
    if kappa is None or kappa.low < BAR <= kappa.high:
        return "cannot tell yet"
    return "agrees" if kappa.low >= BAR else "disagrees"


def _next(says: Says, counts: Counts) -> str:
    if says == "agrees":
        return _USE
    if says == "disagrees":
        return _CHANGE
    more = _more(counts)
    return _RATE + (f"; if they go on to agree as often, about {more} more tell" if more else "")


def _more(counts: Counts) -> int | None:
    """How many more answers would tell, if agreement stays what it is; None: too many to say."""
    n, most = counts.n, 20 * counts.n
    while (n := n + n // 10 + 1) <= most:
        low, high = Tally(counts.agreed.rate * n, n).interval()
        bar = counts.chance + BAR * (1 - counts.chance)
        if low >= bar or high < bar:
            return n - counts.n
    return None
