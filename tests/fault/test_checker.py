"""The checker of histories, on histories made by hand: what it must find, and what it must let pass."""
import pytest

import history

OLD, REGRESS = "older than an acknowledged write", "older than an earlier read"
LOST, EARLY = "a write lost", "read before it was written"


def operation(kind, begin, end, version, status=200, item=1):
    return history.Operation(kind, item, begin, end, status, version if status == 200 else 0, 1)


WRITE = operation("put", 10, 20, 2)


@pytest.mark.parametrize("operations, found", [
    ([WRITE, operation("hit", 21, 22, 1)], [OLD]),
    ([WRITE, operation("load", 21, 30, 1)], [OLD]),
    ([WRITE, operation("hit", 20, 22, 1)], []),  # at the same time
    ([WRITE, operation("hit", 19, 22, 1), operation("hit", 12, 13, 2)], [REGRESS]),
    ([WRITE, operation("hit", 21, 22, 2), operation("hit", 23, 24, 1)], [OLD, REGRESS]),
    ([WRITE, operation("hit", 21, 22, 1, item=2)], []),
    ([WRITE, operation("hit", 21, 22, 1, status=503)], []),
    ([operation("put", 10, 20, 2, status=0), operation("hit", 21, 22, 1)], []),
    ([operation("put", 10, 20, 2, status=0), operation("past-cache", 21, 22, 2), operation("hit", 23, 24, 1)], [REGRESS]),
    ([operation("transaction", 5, 25, 3), WRITE, operation("hit", 26, 27, 2)], [OLD]),  # the highest counts, not the last
    ([operation("put", 10, 20, 2), operation("put", 21, 30, 2)], []),  # not less; wrong_ends counts them
    ([operation("put", 10, 20, 3), operation("put", 21, 30, 2)], [LOST]),
    ([WRITE, operation("hit", 5, 9, 2)], [EARLY]),
])
def test_violations(operations, found):
    assert sorted(v.what for v in history.violations(operations)) == sorted(found)


@pytest.mark.parametrize("after, wrong", [(2, 1), (3, 0), (4, 0), (5, 1)])
def test_wrong_ends(after, wrong):
    operations = [operation("put", 1, 2, 2), operation("put", 3, 4, 3), operation("put", 5, 6, 0, status=0)]
    assert len(list(history.wrong_ends(operations, {1: 1}, {1: after}))) == wrong


def test_trace_shows_both():
    stale = operation("hit", 21, 22, 1)
    violation, = history.violations([WRITE, stale])
    text = history.trace(violation, [WRITE, stale], [(15, "memcached killed")])
    assert "put 200 version 2 of 1  <-- had told" in text and "hit 200 version 1 of 1  <-- this one" in text
    assert "memcached killed" in text


def test_parse():
    line = "past-cache 3 1000 2000 200 7 4711"
    assert history.parse(line + "\n") == [history.Operation("past-cache", 3, 1000, 2000, 200, 7, 4711)]
