"""What Caddy, h2o and HAProxy do themselves by the files of conf/: problem documents, logs, addresses, limits."""
import http.client
import json
import socket
import ssl
import time

import pytest
from conftest import SUPPORT, assert_problem

from .base import killed_meanwhile
from .caddy import Caddy
from .conftest import URL, started
from .h2o import H2o
from .haproxy import HAProxy

pytestmark = pytest.mark.skipif(bool(URL.hostname), reason="conf/ is not what is served there")
SERVERS = [Caddy, H2o, HAProxy]
WITH_PROBLEMS = [Caddy, HAProxy]  # h2o's error-doc would replace the workers' own
CLIENT = {"X-Forwarded-For": "203.0.113.7", "X_Forwarded_For": "198.51.100.1"}


def named(servers):
    return {"params": servers, "ids": [server.kind for server in servers]}


def trusting(settings):
    return settings | {"HOB_TRUSTED_PROXIES": "127.0.0.0/8"}


@pytest.fixture(scope="module", **named(SERVERS))
def front(request, place, settings):
    yield from started(place, trusting(settings), request.param, mount="/shop")


@pytest.fixture
def with_problems(front):
    if type(front) not in WITH_PROBLEMS:
        pytest.skip(f"{front.kind} has plain text for it")
    return front


def lines(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def logged_by_worker(front, eventually, request_id):
    def line():
        return next((line for line in lines(front.workers.log()) if line.get("request_id") == request_id), None)

    return eventually(line)


# ---- Problem documents ----


def test_not_found_outside_of_the_mount(front):
    answer = front.client.get("/ping", headers={"X-Request-ID": "mine"})
    assert_problem(answer, 404, "Not Found")
    assert answer.headers["X-Request-ID"] == "mine"
    assert front.client.get("/ping", headers={"X-Request-ID": "not mine"}).headers["X-Request-ID"] != "not mine"


@pytest.mark.parametrize("server", **{"argvalues": WITH_PROBLEMS, "ids": [server.kind for server in WITH_PROBLEMS]})
def test_no_worker(place, server):
    class Alone(server):
        workers_mode = "none"

    for front in started(place, {}, Alone):
        for method in ("GET", "POST"):
            answer = front.client.request(method, "/ping")
            assert answer.status in (502, 503)
            assert_problem(answer, answer.status)
            assert int(answer.headers["Retry-After"]) > 0


def test_a_body_beyond_the_server_s_own_limit(with_problems):
    headers = {"Content-Type": "application/json", "Content-Length": str(10 * 1024 * 1024)}
    assert_problem(with_problems.client.post("/shop/api/v1/users", body=b"", headers=headers), 413, "Content Too Large")


def test_a_body_that_does_not_come(with_problems):
    with socket.create_connection(("127.0.0.1", with_problems.port), timeout=20) as connection:
        connection.sendall(b"POST /shop/api/v1/users HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n1")
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert response.status == 408 and json.loads(response.read())["title"] == "Request Timeout"


# ---- Logs and addresses ----


def test_one_id_in_both_logs(front, eventually):
    answer = front.client.get("/shop/ping", headers={"User-Agent": 'a "quoted" one'})
    request_id = answer.headers["X-Request-ID"]

    def line():
        text = front.access_log.read_text() if hasattr(front, "access_log") else front.log()
        return next((line for line in text.splitlines() if request_id in line), None)

    assert 'a \\"quoted\\" one' in eventually(line) and json.loads(line())
    assert logged_by_worker(front, eventually, request_id)["client"] == "127.0.0.1"


def test_the_client_s_address_from_a_load_balancer(front, eventually):
    headers = CLIENT if type(front) is not H2o else {"X-Forwarded-For": CLIENT["X-Forwarded-For"]}  # see h2o.conf
    for _ in range(5):
        answer = front.client.get("/shop/ping", headers=headers)
        assert logged_by_worker(front, eventually, answer.headers["X-Request-ID"])["client"] == "203.0.113.7"


def test_over_tls_nobody_s_word_is_taken(front, eventually):
    if type(front) is H2o:
        pytest.skip("h2o leaves that to the worker, which cannot know")
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", front.tls_port, timeout=10, context=context)
    connection.request("GET", "/shop/ping", headers=CLIENT)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b'{"message":"pong"}')
    assert logged_by_worker(front, eventually, answer.headers["X-Request-ID"])["client"] == "127.0.0.1"
    connection.close()


# ---- Limits, compression, retries ----


def test_too_many_requests_of_one_client(place):
    for front in started(place, {}, HAProxy, program=SUPPORT / "mirror"):
        connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
        statuses, begin = [], time.monotonic()
        while 429 not in statuses and time.monotonic() < begin + 9:
            connection.request("GET", "/bytes/1", headers=CLIENT)
            answer = connection.getresponse()
            body = answer.read()
            statuses.append(answer.status)
        assert statuses[-1] == 429 and len(statuses) == 1001 and set(statuses[:-1]) == {200}
        assert json.loads(body)["title"] == "Too Many Requests" and int(answer.headers["Retry-After"]) > 0
        connection.close()


def test_compression(front):
    for _ in range(10):
        front.client.post("/shop/api/v1/users", {"name": "x" * 100, "email": f"{time.time_ns()}@gzip.example"})
    large = front.client.get("/shop/api/v1/users?limit=100", headers={"Accept-Encoding": "gzip"})
    assert large.headers["Content-Encoding"] == "gzip" and large.headers["Vary"].lower() == "accept-encoding"


def test_a_client_that_dawdles_over_its_header(front):
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", front.port), timeout=20) as connection:
        connection.sendall(b"GET /shop/ping HTTP/1.1\r\nHost: ")
        assert b"200" not in connection.recv(100)
    assert time.monotonic() - begin < (12 if type(front) is H2o else 6)


@pytest.mark.parametrize("server", **{"argvalues": SERVERS, "ids": [server.kind for server in SERVERS]})
@pytest.mark.parametrize("method", ["POST", "GET"])
def test_nothing_is_sent_twice(place, eventually, server, method):
    """The worker is killed while it has the request; another is there at once, and must not be asked again."""
    class Dying(server):
        worker_count = 1

    for front in started(place, {}, Dying, program=SUPPORT / "mirror"):
        assert killed_meanwhile(front, eventually, method)[0] in (502, 503)
