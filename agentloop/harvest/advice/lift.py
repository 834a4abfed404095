"""Lift: what difference a comparison could show, with as many users or tasks as there are.

A difference that lies below it may be there and will not be seen; who trains for less than that
cannot know afterwards whether it helped.
"""

from collections.abc import Callable
from math import sqrt
from statistics import NormalDist

ALPHA = 0.05
"""How often, at most, a difference is seen that is not there (two-sided)."""
POWER = 0.8
"""How often a difference of the size that is named is seen."""


def units_per_arm(p: float, q: float, *, alpha: float = ALPHA, power: float = POWER) -> float:
    """Units that each of two arms of a trial needs, to tell a rate of `q` from one of `p`.

    Source: J. L. Fleiss, "Statistical Methods for Rates and Proportions", 2nd ed. (1981), ch. 3,
    without the correction for continuity. R's `power.prop.test` computes the same, and its manual
    gives 76.7 for this example:

    >>> round(units_per_arm(0.50, 0.75, power=0.90), 1)
    76.7

    Args:
        p, q: two different rates, in [0, 1].
    """
    middle = (p + q) / 2
    by_chance = _z(1 - alpha / 2) * sqrt(2 * middle * (1 - middle))
    there = _z(power) * sqrt(p * (1 - p) + q * (1 - q))
    return ((by_chance + there) / (p - q)) ** 2


def pairs_needed(
    alone: float, other_alone: float, *, alpha: float = ALPHA, power: float = POWER
) -> float:
    """Tasks that two versions must both try, to tell one from the other.

    Source: R. J. Connor, "Sample size for testing differences in proportions for the paired-sample
    design", Biometrics 43 (1987), 207-211. The calculator at powerandsamplesize.com ("McNemar's
    Z-test, 2-sided equality") gives 23, rounded up, for this example:

    >>> from math import ceil
    >>> ceil(pairs_needed(0.45, 0.05))
    23

    Args:
        alone, other_alone: the shares of tasks that one version alone gets right, and the other
            alone; they differ.
    """
    apart, gap = alone + other_alone, alone - other_alone
    by_chance = _z(1 - alpha / 2) * sqrt(apart)
    there = _z(power) * sqrt(apart - gap * gap)
    return ((by_chance + there) / gap) ** 2


def of_trial(rate: float, units: int, *, power: float = POWER) -> float | None:
    """The smallest gain on `rate` that a trial would show.

    Args:
        units: users (sessions, runs) of both arms together; half of them in each.

    Returns:
        A gain in (0, 1 - rate]: 0.1 is ten percentage points. None when even a candidate that
        never fails could not be told from what there is.

    The manual of R's `power.prop.test` says that 50 units an arm tell 0.8026 from 0.5:

    >>> round(0.5 + of_trial(0.5, 100, power=0.90), 4)
    0.8026
    """

    def needed(gain: float) -> float:
        return units_per_arm(rate, rate + gain, power=power)

    return _smallest(needed, rate, units / 2)


def of_gate(rate: float, tasks: int) -> float | None:
    """The smallest gain on `rate` that the gate would show, on held-out tasks that both try.

    How often two versions fall apart on a task is not known before; it is taken as if they had
    nothing in common. They have, so that the gate will show somewhat less than this.

    Returns:
        As `of_trial`.
    """

    def needed(gain: float) -> float:
        better = rate + gain
        return pairs_needed(better * (1 - rate), rate * (1 - better))

    return _smallest(needed, rate, tasks)


def _smallest(needed: Callable[[float], float], rate: float, there: float) -> float | None:
    """The smallest gain for which no more is needed than there is, by bisection."""
    low, high = 0.0, 1.0 - rate
    if high <= 0.0 or needed(high) > there:
        return None
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if needed(middle) > there else (low, middle)
    return high


def _z(probability: float) -> float:
    return NormalDist().inv_cdf(probability)
