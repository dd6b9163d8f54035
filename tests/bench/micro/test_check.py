"""The counts are those of the baseline, and a slowdown is seen. Time, which is noisy, only `make bench-micro` compares."""
import copy
import json

import pytest

import check

BASELINE = json.loads(check.BASELINE.read_text())
CHAIN = "gcc 1"
COUNTS = {"router": {"instructions": 1000.0, "allocations": 0.0}, "tree": {"instructions": 100.0, "allocations": 6.0}}
TIMES = {"calibration": 1000.0, "router": 50.0, "fiber_switch": 10.0, "rows_100": 3000.0, "bind_user": 700.0}


def with_count(name, **changed):
    counts = copy.deepcopy(COUNTS)
    counts[name] |= changed
    return counts


@pytest.fixture(scope="module")
def counts():
    return check.measure_counts()


def test_counts_are_those_of_the_baseline(counts):
    chain = check.toolchain()
    assert not check.allocation_faults(counts)
    if check.not_compared(chain, BASELINE):
        pytest.skip(check.not_compared(chain, BASELINE))
    assert not check.count_faults(counts, BASELINE["counts"][chain])


def test_counts_are_the_same_again(counts):
    assert not check.count_faults(check.measure_counts(), counts)


def test_a_slow_handler_is_seen(counts):
    seen = check.count_faults(check.measure_counts(drill="ping"), counts)
    assert len(seen) == 1 and seen[0].startswith("ping: ")


def test_a_slow_handler_takes_its_time():
    """Far more than a busy machine adds."""
    usual = check.ratios(check.measure_times())
    seen = check.time_faults(check.measure_times(drill="ping"), usual)
    assert any(fault.startswith("ping: ") for fault in seen)


@pytest.mark.parametrize("instructions, faults", [(1000, 0), (1030, 0), (970, 0), (1031, 1), (969, 1), (2000, 1)])
def test_three_percent_are_let_pass_either_way(instructions, faults):
    assert len(check.count_faults(with_count("router", instructions=instructions), COUNTS)) == faults


def test_an_allocation_more_or_less_is_a_fault():
    for allocations in (5, 7):
        assert check.count_faults(with_count("tree", allocations=allocations), COUNTS)


def test_some_operations_may_not_allocate_whatever_the_baseline():
    assert not check.allocation_faults(COUNTS)
    assert check.allocation_faults(with_count("router", allocations=1.0))


def test_an_operation_on_one_side_only_is_a_fault():
    for measured, baseline in ((COUNTS, {"router": COUNTS["router"]}), ({"router": COUNTS["router"]}, COUNTS)):
        assert [fault.split(":")[0] for fault in check.count_faults(measured, baseline)] == ["tree"]


def test_another_toolchain_is_said_and_not_compared():
    assert check.not_compared(CHAIN, {"counts": {CHAIN: COUNTS}}) is None
    assert "clang 2" in check.not_compared("clang 2", {"counts": {CHAIN: COUNTS}})


@pytest.mark.parametrize("factor, faults", [(1, 0), (0.1, 0), (1.49, 0), (1.51, 1)])
def test_half_as_long_again_is_let_pass(factor, faults):
    assert len(check.time_faults(TIMES | {"bind_user": 700 * factor}, check.ratios(TIMES))) == faults


def test_a_slower_machine_is_no_fault():
    slower = {name: ns * 1.9 for name, ns in TIMES.items()}
    assert not check.time_faults(slower, check.ratios(TIMES))


@pytest.mark.parametrize("name", check.LIMITS_NS)
def test_a_limit_holds_whatever_the_baseline(name):
    times = TIMES | {name: check.LIMITS_NS[name] + 1}
    assert [fault.split(":")[0] for fault in check.time_faults(times, check.ratios(times))] == [name]
