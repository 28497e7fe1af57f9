"""How far chance reaches: Wilson's interval of a rate, Newcombe's of a difference, McNemar's test of pairs."""

import math

__all__ = ["difference_interval", "mcnemar_p", "wilson_interval"]

Z_95 = 1.959964  # 95% of a normal distribution lie within this many standard deviations of its mean


def wilson_interval(successes: float, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's interval of a success rate. Raises ValueError unless 0 <= successes <= trials and trials >= 1.

    z: half-width in standard deviations of a normal distribution; by default 95%.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"no rate of {successes} in {trials}")
    rate, weight = successes / trials, z * z / trials
    center = (rate + weight / 2) / (1 + weight)
    spread = z * (rate * (1 - rate) / trials + weight / (4 * trials)) ** 0.5 / (1 + weight)
    return (0.0 if successes == 0 else center - spread), (1.0 if successes == trials else center + spread)


def difference_interval(first: tuple[float, int], second: tuple[float, int], z: float = Z_95) -> tuple[float, float]:
    """Newcombe's interval of second - first, each (error, cases), from their Wilson intervals; z as there.

    An error is a mean over cases of numbers in 0..1. Their variance is at most that of a rate with the same mean, so
    the interval is, if anything, too wide. An error of 0 cases counts as exact; an unknown one (nan) gives (nan, nan).
    """
    (error_1, _), (error_2, _) = first, second
    (low_1, high_1), (low_2, high_2) = _error_interval(*first, z), _error_interval(*second, z)
    below = ((error_2 - low_2) ** 2 + (high_1 - error_1) ** 2) ** 0.5
    above = ((high_2 - error_2) ** 2 + (error_1 - low_1) ** 2) ** 0.5
    return error_2 - error_1 - below, error_2 - error_1 + above


def _error_interval(error: float, cases: int, z: float) -> tuple[float, float]:
    if cases == 0 or math.isnan(error):
        return error, error
    return wilson_interval(error * cases, cases, z)


def mcnemar_p(only_first: int, only_second: int) -> float:
    """The p-value of McNemar's exact test, two-sided, on pairs of which only the first or only the second succeeded.

    It is the probability of a split at least as uneven if both sides are equally likely.
    """
    pairs = only_first + only_second
    tail = sum(math.comb(pairs, k) for k in range(min(only_first, only_second) + 1)) / 2**pairs
    return min(1.0, 2 * tail)
