"""What nginx itself does by the files of conf/nginx/: problem documents, its log, limits, compression, addresses."""
import http.client
import json
import socket
import ssl
import time

import pytest
from conftest import SUPPORT, assert_problem

from .base import killed_meanwhile, logged
from .conftest import URL, started
from .nginx import Nginx

pytestmark = pytest.mark.skipif(bool(URL.hostname), reason="conf/nginx/ is not what is served there")
CLIENT = {"X-Forwarded-For": "203.0.113.7"}


@pytest.fixture(scope="module")
def nginx(place, settings):
    yield from started(place, settings, Nginx, mount="/shop")


@pytest.fixture
def nginx_alone(place):
    """In front of nobody."""
    class Alone(Nginx):
        workers_mode = "none"

    yield from started(place, {}, Alone)


# ---- Problem documents of its own ----


def test_not_found_outside_of_the_mount(nginx):
    answer = nginx.client.get("/ping", headers={"X-Request-ID": "mine"})
    assert_problem(answer, 404, "Not Found")
    assert answer.headers["X-Request-ID"] == "mine"


def test_no_worker(nginx_alone, eventually):
    for method in ("GET", "POST"):
        answer = nginx_alone.client.request(method, "/ping", headers={"X-Request-ID": "not mine"})
        assert_problem(answer, 502, "Bad Gateway")
        assert int(answer.headers["Retry-After"]) > 0
        assert len(answer.headers["X-Request-ID"]) == 32
        line = logged(nginx_alone, eventually, answer.headers["X-Request-ID"])
        assert (line["method"], line["target"], line["status"]) == (method, "/ping", 502)
    head = nginx_alone.client.request("HEAD", "/ping")
    assert (head.status, head.body) == (502, b"")


def test_a_body_beyond_nginx_s_own_limit(nginx):
    headers = {"Content-Type": "application/json", "Content-Length": str(9 * 1024 * 1024)}
    assert_problem(nginx.client.post("/shop/api/v1/users", body=b"", headers=headers), 413, "Content Too Large")


def test_a_header_too_large(nginx):
    assert_problem(nginx.client.get("/shop/ping", headers={"X-Large": "x" * 9000}), 400, "Bad Request")
    assert_problem(nginx.client.get("/shop/" + "x" * 9000), 414, "URI Too Long")


# ---- Log and addresses ----


def test_one_id_in_both_logs(nginx, eventually):
    answer = nginx.client.get("/shop/ping", headers={"User-Agent": 'a "quoted" one'})
    request_id = answer.headers["X-Request-ID"]
    line = logged(nginx, eventually, request_id)
    assert (line["status"], line["target"], line["user_agent"]) == (200, "/shop/ping", 'a "quoted" one')
    assert float(line["upstream_seconds"]) >= 0 and line["upstream"].endswith("worker.sock")
    eventually(lambda: any(json.loads(text).get("request_id") == request_id
                           for text in nginx.workers.log().splitlines() if text.startswith("{")))


def test_the_client_s_address_from_a_load_balancer(nginx, eventually):
    request_id = nginx.client.get("/shop/ping", headers=CLIENT).headers["X-Request-ID"]
    assert logged(nginx, eventually, request_id)["client"] == "203.0.113.7"


def test_over_tls_nobody_s_word_is_taken(nginx, eventually):
    context = ssl.create_default_context(cafile=nginx.directory / "fullchain.pem")
    connection = http.client.HTTPSConnection("127.0.0.1", nginx.tls_port, timeout=10, context=context)
    connection.request("GET", "/shop/ping", headers=CLIENT)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b'{"message":"pong"}')
    assert logged(nginx, eventually, answer.headers["X-Request-ID"])["client"] == "127.0.0.1"
    connection.close()


def test_clear_text_is_sent_to_tls(nginx):
    connection = http.client.HTTPConnection("127.0.0.1", nginx.redirect_port, timeout=10)
    connection.request("POST", "/shop/api/v1/users?x=1", headers={"Host": "api.example.com"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (308, "https://api.example.com/shop/api/v1/users?x=1")
    connection.close()


# ---- Limits and compression ----


def test_too_many_requests_of_one_client(nginx):
    """A burst of 200 passes, then 100 a second; another client does not notice."""
    connection = http.client.HTTPConnection("127.0.0.1", nginx.port, timeout=10)
    statuses, begin = [], time.monotonic()
    while 429 not in statuses and time.monotonic() < begin + 10:
        connection.request("GET", "/shop/ping", headers={"X-Forwarded-For": "203.0.113.99"})
        answer = connection.getresponse()
        statuses.append(answer.status)
        body = answer.read()
    connection.close()
    assert statuses[-1] == 429 and 200 <= len(statuses) and set(statuses[:-1]) == {200}, statuses
    assert json.loads(body)["title"] == "Too Many Requests" and int(answer.headers["Retry-After"]) > 0
    assert nginx.client.get("/shop/ping", headers=CLIENT).status == 200


def test_compression(nginx):
    for _ in range(10):
        nginx.client.post("/shop/api/v1/users", {"name": "x" * 100, "email": f"{time.time_ns()}@gzip.example"})
    headers = {"Accept-Encoding": "gzip"}
    large = nginx.client.get("/shop/api/v1/users?limit=100", headers=headers)
    assert large.headers["Content-Encoding"] == "gzip" and "Accept-Encoding" in large.headers["Vary"]
    assert nginx.client.get("/shop/ping", headers=headers).headers["Content-Encoding"] is None


def test_a_client_that_dawdles_over_its_header(nginx):
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", nginx.port), timeout=10) as connection:
        connection.sendall(b"GET /shop/ping HTTP/1.1\r\nHost: ")
        with pytest.raises(ConnectionResetError):
            connection.recv(100)
    assert 1.5 < time.monotonic() - begin < 6


# ---- Retries ----


@pytest.fixture
def dying(place):
    """In front of one worker that may die."""
    class Dying(Nginx):
        worker_count = 1

    yield from started(place, {}, Dying, program=SUPPORT / "mirror")


def test_a_post_is_never_repeated(dying, eventually):
    """The worker is killed while it has the request; another is there at once, and nginx must not ask it again."""
    status, body = killed_meanwhile(dying, eventually, "POST")
    assert status == 502 and json.loads(body)["status"] == 502
