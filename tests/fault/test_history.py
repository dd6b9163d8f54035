"""Every value that is read after a write was acknowledged is that write's or a later one."""
import collections
import json
import os

import pytest

import history
from integration.fcgi_client import Connection

SECONDS = float(os.environ.get("FAULT_SECONDS", 4))
LONG = SECONDS >= 30
FAULTS = [
    (6, "kill_worker", 0, 0),
    (3, "freeze_worker", 5, 300),
    (3, "freeze_memcached", 2, 30),
    (2, "freeze_memcached", 30, 300),
    (2, "restart_memcached", 0, 50),
    # Longer than it takes until the breaker opens and probes.
    (1, "freeze_memcached", 500, 2000),
    (1, "restart_memcached", 500, 2000),
]
SHARES = {"listed": 200, "put": 40, "transaction": 20, "past_cache": 20, "die": 10}


def examine(operations, events):
    """How many violations; what happened is printed."""
    found = history.violations(operations)
    print(f"{len(operations)} operations, {dict(collections.Counter(o.kind for o in operations if o.status == 200))},"
          f" {len(history.unknown(operations))} writes unknown")
    words = (what.split() for _, what in events)
    print(dict(collections.Counter(f"{name.partition('-')[0]} {what}" for name, what, *_ in words)))
    for what, count in collections.Counter(violation.what for violation in found).items():
        print(f"{count} x {what}")
    if found:
        print(history.trace(found[0], operations, events))
    return len(found)


def growing(times, history_of, *arguments, **options):
    """Operations and events so far, each time with those of another run behind them."""
    operations, events = [], []
    for _ in range(times):
        more, nemesis = history_of(*arguments, **options)
        operations, events = operations + more, events + nemesis.events
        yield operations, events


def read_often(service, item, times=20):
    """Versions as told by whichever workers come to answer."""
    for _ in range(times):
        with Connection(str(service.socket_path)) as connection:
            yield json.loads(connection.ask(target=f"/items/{item}").body)["version"]


@pytest.mark.parametrize("memcached", [1, 3] if LONG else [2])
def test_no_stale_read(service_of, history_of, items, memcached):
    service = service_of("history", memcached, HOB_CACHE_TIMEOUT="10ms", ITEMS_PAUSE="3")
    for operations, events in growing(20, history_of, service, SECONDS, FAULTS, (100, 600), **SHARES):
        if history.unknown(operations):  # a write was under way when its worker was killed
            break
    assert examine(operations, events) == 0
    done = collections.Counter(o.kind for o in operations if o.status == 200)
    assert min(done.values()) >= 10 * SECONDS and done["hit"] > done["load"] / 10, done  # the cache was used
    assert len(events) > SECONDS and history.unknown(operations)  # and disturbed
    for item, version in items.versions().items():
        assert set(read_often(service, item)) == {version}, item


# ---- What is wrong is found, every time and soon: else the test above proves nothing. ----

again = pytest.mark.parametrize("turn", range(10 if LONG else 1))


def assert_found(service, history_of, *arguments, **options):
    for halves, (operations, events) in enumerate(growing(30, history_of, service, 0.5, *arguments, **options), 1):
        found = history.violations(operations)
        if found:
            print(f"found within {halves / 2} s, {len(found)} times", history.trace(found[0], operations, events))
            return
    pytest.fail(f"nothing found in {len(operations)} operations")


@again
def test_finds_set_after_read(service_of, history_of, turn):
    assert_found(service_of("naive_set_after_read", ITEMS_PAUSE="5"), history_of, put=50)


@again
def test_finds_lease_by_cas_alone(service_of, history_of, turn):
    """A load that outlasts a restart, and the first lease after it has the same number again."""
    service = service_of("naive_cas_alone", ITEMS_PAUSE="150")
    restarts = [(1, "restart_memcached", 0, 0)]
    assert_found(service, history_of, restarts, (40, 60), put=40, items=1, threads=24)


@again
def test_finds_joining_at_any_time(service_of, history_of, turn):
    assert_found(service_of("naive_join", ITEMS_PAUSE="10"), history_of, put=50)
