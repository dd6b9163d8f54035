"""Faults under load: workers and memcached are killed and frozen while many clients read and write few items, and
workers are replaced while requests arrive.

FAULT_SECONDS: how long each of the long tests runs; from 30 on, test_rolling.py asks millions of times.
FAULT_SEED: of all that is drawn at random.
"""
import itertools
import os
import pathlib
import random
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from integration.conftest import BINARY, BUILD, Cache, database, memcached  # noqa: E402, F401
from integration.conftest import no_crash, place, settings  # noqa: E402, F401
import faults  # noqa: E402
import history  # noqa: E402

SUPPORT = BUILD / "tests/fault/support"
SEED = int(os.environ.get("FAULT_SEED") or random.randrange(10**6))
counter = itertools.count(1)


def pytest_report_header():
    return f"FAULT_SEED={SEED}"


class Items:
    """The table, in the database of all tests."""

    def __init__(self, database):  # noqa: F811
        self.database = database
        database.execute("CREATE TABLE items (id bigint PRIMARY KEY, version bigint NOT NULL)")
        database.execute("INSERT INTO items SELECT n, 1 FROM generate_series(1, %s) n", faults.ITEMS)

    def versions(self):
        return dict(self.database.execute("SELECT id, version FROM items"))


@pytest.fixture(scope="session")
def items(database):  # noqa: F811
    return Items(database)


@pytest.fixture
def service_of(place, items):  # noqa: F811
    """service_of(program, memcached=1, **environment): its workers and servers, stopped at the test's end."""
    started = []

    def start(program, memcached=1, workers=4, **environment):
        servers = [Cache(place, name=f"memcached-{next(counter):03}") for _ in range(memcached)]
        for server in servers:
            started.append(server)
            server.start()
        settings = {"DATABASE_URL": items.database.url, "HOB_DB_MAX_OPEN": "3", "HOB_CACHE_TTL": "1h",
                    "HOB_REQUEST_TIMEOUT": "2s"}
        service = faults.Service(place, SUPPORT / program, servers, settings | environment, workers)
        started.append(service)
        service.start()
        return service

    yield start
    for one in reversed(started):
        one.stop()


@pytest.fixture
def history_of(items):
    """history_of(service, seconds, kinds, ...): the operations of clients among such faults, and the nemesis. What the
    database has then follows from them."""

    def run(service, seconds, kinds=(), pause_ms=(50, 500), **options):
        nemesis = faults.Nemesis(service, SEED, kinds, pause_ms)
        before = items.versions()
        load = SUPPORT / "items_load"
        operations = history.parse(faults.load(load, service, nemesis, seconds, SEED, **options))
        wrong = list(history.wrong_ends(operations, before, items.versions()))
        assert not wrong, wrong
        return operations, nemesis

    return run
