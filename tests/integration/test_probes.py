"""/ping, /livez and /readyz."""
import os
import signal

import pytest


def test_ping(http_client):
    answer = http_client.get("/ping")
    assert (answer.status, answer.body) == (200, b'{"message":"pong"}')
    assert answer.headers["Content-Type"] == "application/json"


def test_all_is_well(http_client):
    assert http_client.get("/livez").body == b'{"status":"ok"}'
    answer = http_client.get("/readyz")
    assert (answer.status, answer.body) == (200, b'{"status":"ready","database":"up","cache":"up"}')


@pytest.mark.parametrize("cache, said", [(None, "off"), ("/nonexistent/memcached.sock", "down")])
def test_a_cache_is_not_needed(app_with, eventually, cache, said):
    client = app_with({"HOB_CACHE": cache}).client
    client.get(f"/api/v1/users/{client.new_user()['id']}")  # whether a cache is there is known when it was asked
    ready = {"status": "ready", "database": "up", "cache": said}
    eventually(lambda: client.get("/readyz").json == ready)
    assert client.get("/readyz").status == 200


def test_a_database_is(app_with, own_database, eventually):
    client = app_with({"DATABASE_URL": own_database.url}).client
    own_database.stop()
    eventually(lambda: client.get("/readyz").status == 503)
    answer = client.get("/readyz")
    assert answer.json == {"status": "not ready", "database": "down", "cache": "up"}
    live = client.get("/livez")
    assert (live.status, live.json) == (200, {"status": "ok"})
    own_database.start()
    eventually(lambda: client.get("/readyz").status == 200)


def test_a_worker_that_never_had_a_database(app_with):
    client = app_with({"DATABASE_URL": "postgresql:///x?host=/nonexistent"}, ready=False).client
    assert client.get("/readyz").status == 503
    assert client.get("/livez").status == 200


def test_probes_ask_nobody(http_client, database, memcached):
    def asked():
        """When each session of the database ran its last query, and how often the cache was asked."""
        queries = database.execute("SELECT pid, query_start FROM pg_stat_activity"
                                   " WHERE application_name = 'users-api' ORDER BY pid")
        return queries, memcached.counter("cmd_get"), memcached.counter("cmd_set")

    before = asked()
    for _ in range(50):
        assert http_client.get("/readyz").status == 200
        assert http_client.get("/livez").status == 200
    assert before[0] and asked() == before


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_stopped_worker_drains_and_ends_well(app_with, eventually, sig):
    app = app_with({}, count=2)
    first, second = app.workers.pids
    assert app.client.get("/ping").status == 200
    os.kill(first, sig)
    for _ in range(100):
        assert app.client.get("/ping").status == 200
    eventually(lambda: app.workers.alive() == [second])
    assert app.workers.statuses[first] == 0
    assert app.client.get("/readyz").status == 200
