"""What difference a trial could show, by how many runs there are."""

from math import sqrt

from agentloop.base.records.trial import Z95

Z80 = 0.8416212335729143
"""The standard-normal quantile of a power of 80 %."""


def runs_needed(before: float, after: float) -> float:
    """How many runs each side of a trial needs to tell two rates apart, at 95 % confidence and
    80 % power.

    Source: J. L. Fleiss, B. Levin, M. C. Paik, "Statistical Methods for Rates and Proportions",
    3rd ed. (2003), section 4.2, without the correction for continuity.

    Args:
        before, after: rates in [0, 1], not equal.

    >>> round(runs_needed(0.6, 0.7))
    356
    """
    mean = (before + after) / 2
    apart = Z95 * sqrt(2 * mean * (1 - mean))
    apart += Z80 * sqrt(before * (1 - before) + after * (1 - after))
    return (apart / (after - before)) ** 2


def detectable(rate: float, runs: float) -> float | None:
    """The smallest gain over `rate` that a trial with so many runs on each side would show; None
    where even a rate of 1 would not stand out.

    Args:
        rate: of success now, in [0, 1].
        runs: on each side.

    >>> round(detectable(0.6, 356), 3)
    0.1
    >>> detectable(0.6, 2)
    """
    if rate >= 1.0 or runs < runs_needed(rate, 1.0):
        return None
    low, high = rate, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if runs_needed(rate, middle) > runs:
            low = middle
        else:
            high = middle
    return high - rate
