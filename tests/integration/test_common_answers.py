"""What is the same for every route: methods, request ids, overload, deadlines, and dependencies that are away."""
import concurrent.futures
import re
import time

import pytest

USERS = "/api/v1/users"
UUID_V7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
ROUTES = {
    "/ping": {"GET"},
    "/livez": {"GET"},
    "/readyz": {"GET"},
    USERS: {"GET", "POST"},
    f"{USERS}/1": {"GET", "PUT", "PATCH", "DELETE"},
    f"{USERS}/1/orders": {"GET", "POST"},
    f"{USERS}/1/summary": {"GET"},
    "/api/v1/orders/1": {"GET"},
}


def allowed(answer):
    return set(re.split(r",\s*", answer.headers["Allow"]))


@pytest.mark.parametrize("path", ["/", "/no", "/api", "/api/v1", "/api/v2/users", "/pingpong", f"{USERS}/1/no"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_unknown_path(http_client, problem, method, path):
    assert problem(http_client.request(method, path), 404, "Not Found")


@pytest.mark.parametrize("path", ROUTES)
def test_options(http_client, path):
    answer = http_client.request("OPTIONS", path)
    assert (answer.status, answer.body) == (204, b"")
    assert allowed(answer) == ROUTES[path] | {"HEAD", "OPTIONS"}


@pytest.mark.parametrize("path", ROUTES)
def test_other_methods(http_client, problem, path):
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "BREW"} - ROUTES[path]:
        answer = http_client.request(method, path)
        problem(answer, 405, "Method Not Allowed")
        assert allowed(answer) == ROUTES[path] | {"HEAD", "OPTIONS"}


# ---- Request ids ----


@pytest.mark.parametrize("request_id", ["a", "A.z_0-9", "x" * 64])
def test_a_good_request_id_comes_back(http_client, problem, request_id):
    headers = {"X-Request-ID": request_id}
    assert http_client.get("/ping", headers=headers).headers["X-Request-ID"] == request_id
    assert problem(http_client.get("/nothing", headers=headers), 404)["instance"] == request_id


@pytest.mark.parametrize("request_id", [None, "", "x" * 65, "two words", "semi;colon", "sl/ash", "\xe9"])
def test_any_other_is_replaced_by_a_uuid(http_client, request_id):
    headers = {} if request_id is None else {"X-Request-ID": request_id}
    first, second = (http_client.get("/ping", headers=headers).headers["X-Request-ID"] for _ in range(2))
    assert UUID_V7.fullmatch(first) and UUID_V7.fullmatch(second)
    assert first != second


def test_every_answer_has_one(http_client):
    user = http_client.new_user()
    for method, path in (("GET", f"{USERS}/{user['id']}"), ("HEAD", "/ping"), ("OPTIONS", "/ping"), ("PUT", "/ping"),
                         ("DELETE", f"{USERS}/{user['id']}"), ("GET", USERS)):
        answer = http_client.request(method, path)
        assert len(answer.headers.get_all("X-Request-ID")) == 1, answer


# ---- Deadlines and overload ----


def assert_retry_after(answer):
    assert 1 <= int(answer.headers["Retry-After"]) <= 60, answer


def test_a_request_past_its_deadline(app_with, lock, problem):
    client = app_with({"HOB_REQUEST_TIMEOUT": "300ms", "HOB_DB_LOCK_TIMEOUT": "0s"}).client
    held = lock("users")
    begin = time.monotonic()
    problem(client.get(USERS), 504, "Gateway Timeout")
    assert 0.25 < time.monotonic() - begin < 5
    held.release()
    assert client.get(USERS).status == 200


def test_a_statement_past_its_timeout(app_with, lock, problem):
    client = app_with({"HOB_DB_STATEMENT_TIMEOUT": "200ms", "HOB_DB_LOCK_TIMEOUT": "0s"}).client
    held = lock("users")
    for method, body in (("GET", None), ("POST", {"name": "A", "email": "statement.timeout@example.com"})):
        problem(client.request(method, USERS, body), 504)
    held.release()
    assert client.get(USERS).status == 200


def test_one_slow_query_does_not_hold_up_the_others(app_with, lock):
    client = app_with({"HOB_DB_LOCK_TIMEOUT": "0s"}).client
    user = client.new_user()
    assert client.get(f"{USERS}/{user['id']}").status == 200
    held = lock("orders")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.get, f"{USERS}/{user['id']}/orders")
        time.sleep(0.2)
        for _ in range(20):
            assert client.get(USERS).status == 200
        assert not slow.done()
        held.release()
        assert slow.result().status == 200


def test_too_many_requests_in_flight(app_with, lock, problem, eventually):
    client = app_with({"HOB_MAX_IN_FLIGHT": "2", "HOB_DB_LOCK_TIMEOUT": "0s"}).client
    held = lock("users")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(client.get, USERS) for _ in range(2)]
        eventually(lambda: client.get("/ping").status == 503)
        answer = client.get("/ping")
        problem(answer, 503, "Service Unavailable")
        assert_retry_after(answer)
        held.release()
        assert [one.result().status for one in waiting] == [200, 200]
    assert client.get("/ping").status == 200


def test_many_clients_at_once(app, http_client):
    user = http_client.new_user()
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(http_client.get, [f"{USERS}?limit=2", f"{USERS}/{user['id']}"] * 200))
    assert {answer.status for answer in answers} == {200}
    assert all(answer.json == user for answer in answers[1::2])
    assert len(app.workers.alive()) == 2


# ---- Dependencies that are away ----


def test_the_database_goes_and_comes_back(app_with, own_database, problem, eventually):
    app = app_with({"DATABASE_URL": own_database.url, "HOB_CACHE": None})
    client, user = app.client, app.client.new_user()
    target, item = f"{USERS}/{user['id']}", {"sku": "a", "quantity": 1, "unit_price_cents": 1}
    own_database.stop()
    eventually(lambda: client.get(target).status == 503)
    for method, target, body in (("GET", USERS, None), ("POST", USERS, {"name": "A", "email": "a@b"}),
                                 ("GET", target, None), ("DELETE", target, None), ("GET", f"{target}/summary", None),
                                 ("POST", f"{target}/orders", {"items": [item]})):
        begin = time.monotonic()
        answer = client.request(method, target, body)
        problem(answer, 503, "Service Unavailable")
        assert_retry_after(answer)
        assert time.monotonic() - begin < 2, "the answer comes at once, not after a timeout"
    assert client.get("/ping").status == 200
    own_database.start()
    eventually(lambda: client.get(USERS).status == 200)
    assert client.get(f"{USERS}/{user['id']}").json == user


def test_no_word_of_the_inside_gets_out(app_with, problem):
    url = "postgresql://someone:secret@/nowhere?host=/nonexistent"
    client = app_with({"DATABASE_URL": url}, ready=False).client
    answer = client.get(USERS)
    problem(answer, 503)
    for word in (b"secret", b"someone", b"nonexistent", b"libpq", b"socket"):
        assert word not in answer.body


def test_an_unforeseen_error_is_a_500_with_nothing_of_the_inside(app_with, own_database, problem):
    app = app_with({"DATABASE_URL": own_database.url, "HOB_CACHE": None})
    own_database.execute("ALTER TABLE users RENAME TO people")
    answer = app.client.get(USERS)
    problem(answer, 500, "Internal Server Error")
    assert b"relation" not in answer.body and b"42P01" not in answer.body
    assert "42P01" in app.workers.log()


def test_a_session_that_the_server_ends_is_replaced(app_with, own_database, eventually):
    client = app_with({"DATABASE_URL": own_database.url, "HOB_CACHE_PREFIX": "own"}).client
    user = client.new_user()
    for _ in range(3):
        own_database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                             " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
        eventually(lambda: client.get(USERS).status == 200)
        assert client.get(f"{USERS}/{user['id']}").json == user


def test_the_cache_goes_and_comes_back(app_with, own_memcached, eventually):
    app = app_with({"HOB_CACHE": str(own_memcached.socket_path)})
    client, user = app.client, app.client.new_user()
    target = f"{USERS}/{user['id']}"
    assert client.get(target).json == user
    own_memcached.stop()
    for _ in range(20):
        assert client.get(target).json == user
    changed = client.patch(target, {"name": "While it was away"})
    assert changed.status == 200, changed
    assert client.get(target).json == changed.json
    own_memcached.start()

    def cached_again():
        before = own_memcached.counter("get_hits")
        assert client.get(target).json == changed.json
        return own_memcached.counter("get_hits") > before

    eventually(cached_again, seconds=30)


@pytest.mark.parametrize("cache", [None, "/nonexistent/memcached.sock"])
def test_no_cache_at_all(app_with, cache):
    client = app_with({"HOB_CACHE": cache}).client
    user = client.new_user()
    for _ in range(5):
        assert client.get(f"{USERS}/{user['id']}").json == user
    changed = client.patch(f"{USERS}/{user['id']}", {"name": "Changed"}).json
    assert client.get(f"{USERS}/{user['id']}").json == changed
