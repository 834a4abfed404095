"""A trial: two versions on live traffic, what each arm counted, and what that says."""

from math import sqrt
from typing import NamedTuple

from agentloop.base.records.record import Record, Time

Z95 = 1.959963984540054
"""The standard-normal quantile of a two-sided 95 % interval."""


class Interval(NamedTuple):
    """Where a figure plausibly lies; `low <= high`."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


class Tally(NamedTuple):
    """How often something went well: `successes` of `n`, counted in units, not in requests."""

    successes: float
    n: int

    @property
    def rate(self) -> float:
        """Successes per unit, in [0, 1]; 0 when there are no units yet."""
        return self.successes / self.n if self.n else 0.0

    def interval(self, z: float = Z95) -> Interval:
        """Where the rate plausibly lies; sound even for small n and for rates of 0 or 1.

        Source: E. B. Wilson, "Probable inference, the law of succession, and statistical
        inference", JASA 22 (1927), 209-212. `(0, 1)` when there are no units yet.

        >>> low, high = Tally(81, 263).interval()
        >>> f"{low:.4f} {high:.4f}"
        '0.2553 0.3662'
        """
        if not self.n:
            return Interval(0.0, 1.0)
        p, n, z2 = self.rate, self.n, z * z
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = z * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        return Interval(max(0.0, centre - half), min(1.0, centre + half))

    def minus(self, other: "Tally", z: float = Z95) -> Interval:
        """How much better this arm plausibly is than `other`, as rates in [-1, 1].

        When the interval does not contain 0 the arms differ, at 95 % confidence for the default
        `z`. It is a statement about one look at the data: looking again and again until it
        excludes 0 finds differences that are not there.

        Source: R. G. Newcombe, "Interval estimation for the difference between independent
        proportions", Statistics in Medicine 17 (1998), 873-890, method 10; the example is row (a)
        of its Table II.

        >>> low, high = Tally(56, 70).minus(Tally(48, 80))
        >>> f"{low:.4f} {high:.4f}"
        '0.0524 0.3339'
        """
        a, b = self.interval(z), other.interval(z)
        gap = self.rate - other.rate
        down = sqrt((self.rate - a.low) ** 2 + (b.high - other.rate) ** 2)
        up = sqrt((a.high - self.rate) ** 2 + (other.rate - b.low) ** 2)
        return Interval(max(-1.0, gap - down), min(1.0, gap + up))


class Pairs(NamedTuple):
    """Two versions on the same tasks: how the pairs of results fell."""

    both: int
    first: int
    """Tasks that the first alone got right."""
    second: int
    neither: int

    @property
    def n(self) -> int:
        return sum(self)

    @property
    def difference(self) -> float:
        """Rate of the first less rate of the second, in [-1, 1]."""
        return (self.first - self.second) / self.n if self.n else 0.0

    def interval(self, z: float = Z95) -> Interval:
        """How much better the first plausibly is than the second, in [-1, 1].

        Sharper than `Tally.minus` because each task is its own control.

        Source: R. G. Newcombe, "Improved confidence intervals for the difference between
        binomial proportions based on paired data", Statistics in Medicine 17 (1998), 2635-2650,
        method 10. The example is Table 6.2 of D. G. Altman et al., "Statistics with Confidence"
        (2000), which gives 0.011 to 0.226.

        >>> low, high = Pairs(14, 5, 0, 22).interval()
        >>> f"{low:.4f} {high:.4f}"
        '0.0115 0.2265'
        """
        if not self.n:
            return Interval(-1.0, 1.0)
        e, f, g, h = self
        first, second = Tally(e + f, self.n), Tally(e + g, self.n)
        a, b = first.interval(z), second.interval(z)
        margins = (e + f) * (g + h) * (e + g) * (f + h)
        product = e * h - f * g
        # Method 10 shrinks a positive correlation by n/2, not below 0.
        excess = max(0.0, product - self.n / 2) if product > 0 else product
        phi = excess / sqrt(margins) if margins else 0.0
        p, q = first.rate, second.rate
        down = (p - a.low) ** 2 - 2 * phi * (p - a.low) * (b.high - q) + (b.high - q) ** 2
        up = (a.high - p) ** 2 - 2 * phi * (a.high - p) * (q - b.low) + (q - b.low) ** 2
        return Interval(
            max(-1.0, self.difference - sqrt(max(0.0, down))),
            min(1.0, self.difference + sqrt(max(0.0, up))),
        )


class Trial(Record):
    """Two sides of an experiment: `control` serves most units, `candidate` a share of them."""

    id: str
    agents: tuple[str, ...]
    """The agents whose model the arm decides; the first is the one that runs begin with."""
    candidate: str
    """The version under trial."""
    control: str | None = None
    """The version it is compared with; None: the agents' own model."""
    share: float
    """Of the units that the candidate serves, in (0, 1)."""
    metric: str
    """The outcome that decides, or `score`."""
    started_at: Time
    stopped_at: Time | None = None


class Verdict(Record):
    """What a trial says so far."""

    trial: str
    metric: str
    control: Tally
    candidate: Tally
    unknown: int
    """Units whose metric is not known yet; they are in neither tally."""
    difference: float
    """Rate of the candidate less rate of the control."""
    interval: Interval
    """The 95 % interval of `difference`, for one look at a time fixed in advance."""
    says: str
    """`better`, `worse` or `cannot tell yet`."""
