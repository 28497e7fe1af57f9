"""Intervals and p-values against numbers counted by hand or published."""

import math

import pytest

from nram.results.intervals import difference_interval, mcnemar_p, wilson_interval


def test_wilson_interval():
    low, high = wilson_interval(11, 100)
    assert (low, high) == (pytest.approx(0.0625, abs=5e-4), pytest.approx(0.1863, abs=5e-4))
    assert wilson_interval(0, 10)[0] == 0 and wilson_interval(10, 10)[1] == pytest.approx(1)
    with pytest.raises(ValueError):
        wilson_interval(3, 2)


def test_difference_interval_is_newcombes():
    """His example (1998): 56 of 70 and 48 of 80, with a difference of 0.0524 to 0.3339."""
    low, high = difference_interval((48 / 80, 80), (56 / 70, 70))
    assert (low, high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))


def test_an_error_without_cases_is_exact_and_an_unknown_one_has_no_interval():
    assert difference_interval((0.25, 0), (0.5, 0)) == (0.25, 0.25)
    assert all(map(math.isnan, difference_interval((math.nan, 0), (0.5, 100))))


def test_mcnemar_p():
    assert mcnemar_p(1, 6) == mcnemar_p(6, 1) == 2 * 8 / 128
    assert mcnemar_p(0, 0) == mcnemar_p(3, 3) == 1
