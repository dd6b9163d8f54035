"""A cached GET in the steady state makes no allocation of ours; libfcgi's own are listed apart."""
import os
import struct

import pytest

import fcgi_client
from conftest import SUPPORT, Worker, with_overrides

OBJECTS = ("libfcgi", "libmemcached", "libpq", "libjson-c", "users-api", "others")
WARM, COUNTED = 300, 1000

pytestmark = pytest.mark.skipif("san" in os.environ.get("HOB_BUILD", ""), reason="the sanitizer replaces malloc itself")


def counters(path):
    return dict(zip(OBJECTS, struct.unpack(f"{len(OBJECTS)}Q", path.read_bytes()[: 8 * len(OBJECTS)])))


@pytest.fixture
def counted_worker(place, settings, tmp_path):
    path = tmp_path / "counters"
    preload = {"LD_PRELOAD": str(SUPPORT / "count_malloc.so"), "COUNT_MALLOC": str(path), "HOB_LOG_LEVEL": "info"}
    worker = Worker(place, with_overrides(settings, preload))
    worker.start()
    yield worker, path
    worker.stop()


def test_a_cached_get_allocates_nothing(counted_worker, app):
    worker, path = counted_worker
    user = app.client.new_user()
    connection = fcgi_client.Connection(worker.socket_path)

    def get(times):
        for _ in range(times):
            answer = connection.ask(target=f"/api/v1/users/{user['id']}")
            assert answer.status == 200, answer

    get(WARM)
    before = counters(path)
    get(COUNTED)
    after = counters(path)
    made = {name: after[name] - before[name] for name in OBJECTS}
    print(f"\nallocations of {COUNTED} cached GETs: {made}")
    assert made.pop("libfcgi") > 0, "nothing was counted"
    assert not any(made.values()), made
