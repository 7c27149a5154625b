"""Odd files, options, configurations and model folders give a result or one sentence: some of `make fuzz`."""

import os
import sys

import pytest

from tools.fuzz import KINDS, fuzz, rounds

CASES = 500


@pytest.mark.skipif(not hasattr(os, "fork") or not os.path.exists("/proc/self/statm"), reason="needs fork and /proc")
def test_odd_input_of_every_kind_gives_a_result_or_one_sentence() -> None:
    cases = rounds(CASES)
    assert {case.kind for case in cases} == set(KINDS)
    sys.stdout.flush()
    outcomes = list(fuzz(cases, jobs=2))
    assert len(outcomes) == CASES
    assert not [f"{outcome.case}: {outcome.problem}" for outcome in outcomes if outcome.problem]
    # Not all is refused, or nothing would be tried but the first check.
    assert sum(outcome.code == 0 for outcome in outcomes) > CASES // 20
