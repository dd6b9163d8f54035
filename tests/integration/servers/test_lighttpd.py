"""What lighttpd itself does by the files of conf/lighttpd/: problem documents, its log, timeouts, limits, compression,
addresses, retries."""
import concurrent.futures
import contextlib
import http.client
import json
import signal
import socket
import ssl
import time

import pytest
from conftest import SUPPORT, assert_problem

from .base import killed_meanwhile, logged
from .conftest import URL, started
from .lighttpd import Lighttpd, LighttpdCgiFcgi, LighttpdSpawn

pytestmark = pytest.mark.skipif(bool(URL.hostname), reason="conf/lighttpd/ is not what is served there")
CLIENT = {"X-Forwarded-For": "203.0.113.7"}


@pytest.fixture(scope="module")
def lighttpd(place, settings):
    yield from started(place, settings, Lighttpd, mount="/shop")


@pytest.fixture
def dying(place):
    """In front of one worker that may die."""
    class Dying(Lighttpd):
        worker_count = 1

    yield from started(place, {}, Dying, program=SUPPORT / "mirror")


# ---- Problem documents of its own ----


def test_not_found_outside_of_the_mount(lighttpd):
    answer = lighttpd.client.get("/ping", headers={"X-Request-ID": "mine"})
    assert_problem(answer, 404, "Not Found")
    assert answer.headers["X-Request-ID"] == "mine"
    head = lighttpd.client.request("HEAD", "/ping")
    assert (head.status, head.body) == (404, b"")


@pytest.mark.parametrize("server, status", [(Lighttpd, 503), (LighttpdCgiFcgi, 502)], ids=lambda param: str(param))
def test_no_worker(place, server, status):
    class Alone(server):
        workers_mode = "none"

    for alone in started(place, {}, Alone):
        for method in ("GET", "POST"):
            answer = alone.client.request(method, "/ping", headers={"X-Request-ID": "not mine"})
            assert_problem(answer, status)
            assert int(answer.headers["Retry-After"]) > 0
            assert len(answer.headers["X-Request-ID"]) == 32


def test_a_body_beyond_lighttpd_s_own_limit(lighttpd):
    headers = {"Content-Type": "application/json", "Content-Length": str(9 * 1024 * 1024)}
    assert_problem(lighttpd.client.post("/shop/api/v1/users", body=b"", headers=headers), 413, "Content Too Large")


def test_a_header_too_large(lighttpd):
    answer = lighttpd.client.get("/shop/ping", headers={"X-Large": "x" * 20000})
    assert_problem(answer, 431, "Request Header Fields Too Large")


# ---- Log and addresses ----


def test_one_id_in_both_logs(lighttpd, eventually):
    answer = lighttpd.client.get("/shop/ping?x=%22", headers={"User-Agent": 'a "quoted" one'})
    request_id = answer.headers["X-Request-ID"]
    line = logged(lighttpd, eventually, request_id)
    assert (line["status"], line["request"]) == (200, "GET /shop/ping?x=%22 HTTP/1.1")
    assert line["user_agent"] == 'a "quoted" one' and line["microseconds"] > 0
    eventually(lambda: any(json.loads(text).get("request_id") == request_id
                           for text in lighttpd.workers.log().splitlines() if text.startswith("{")))


def test_the_client_s_address_from_a_load_balancer(lighttpd, eventually):
    request_id = lighttpd.client.get("/shop/ping", headers=CLIENT).headers["X-Request-ID"]
    assert logged(lighttpd, eventually, request_id)["client"] == "203.0.113.7"


def over_tls(lighttpd, target, **headers):
    context = ssl.create_default_context(cafile=lighttpd.directory / "fullchain.pem")
    connection = http.client.HTTPSConnection("127.0.0.1", lighttpd.tls_port, timeout=10, context=context)
    connection.request("GET", target, headers=headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_over_tls_nobody_s_word_is_taken(lighttpd, eventually):
    answer = over_tls(lighttpd, "/shop/ping", **CLIENT)
    assert answer.status == 200
    assert logged(lighttpd, eventually, answer.headers["X-Request-ID"])["client"] == "127.0.0.1"


def test_clear_text_is_sent_to_tls(lighttpd):
    connection = http.client.HTTPConnection("127.0.0.1", lighttpd.redirect_port, timeout=10)
    connection.request("POST", "/shop/api/v1/users?x=1", headers={"Host": "api.example.com"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (308, "https://api.example.com/shop/api/v1/users?x=1")
    connection.close()


def test_probes_are_not_for_everybody(lighttpd):
    assert lighttpd.client.get("/shop/livez").status == 200
    assert over_tls(lighttpd, "/shop/livez").status == 200
    assert_problem(lighttpd.client.get("/shop/livez", headers=CLIENT | {"X-Forwarded-Proto": "https"}), 403)


# ---- Timeouts and compression ----


def closed_after(port, data):
    """The seconds after which a client that sends no more is given up, without an answer."""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    return time.monotonic() - begin


def test_timeouts(dying):
    """A header is waited for 2 s, a body 10 s, and a worker longer."""
    body = b"POST /mirror HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{"
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        header_late = pool.submit(closed_after, dying.port, body[:30])
        body_late = pool.submit(closed_after, dying.port, body)
        answer_late = pool.submit(dying.client.post, "/wait/12000", body=b"")
        assert 1.5 < header_late.result() < 6
        assert 9 < body_late.result() < 14
        assert answer_late.result().status == 200


def test_compression(lighttpd):
    for _ in range(10):
        lighttpd.client.post("/shop/api/v1/users", {"name": "x" * 100, "email": f"{time.time_ns()}@gzip.example"})
    headers = {"Accept-Encoding": "gzip"}
    large = lighttpd.client.get("/shop/api/v1/users?limit=100", headers=headers)
    assert large.headers["Content-Encoding"] == "gzip" and "Accept-Encoding" in large.headers["Vary"]
    assert lighttpd.client.get("/shop/ping", headers=headers).headers["Content-Encoding"] is None


# ---- Retries ----


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_is_repeated(dying, eventually, method):
    """The worker is killed while it has the request; another is there at once, and lighttpd must not ask it again."""
    status, body = killed_meanwhile(dying, eventually, method)
    assert status == 502 and json.loads(body)["status"] == 502


# ---- Reload ----


@pytest.mark.parametrize("server", [Lighttpd, LighttpdSpawn], ids=lambda server: server.kind)
def test_a_reload_answers_what_is_in_flight(place, eventually, server):
    for front in started(place, {}, server, program=SUPPORT / "mirror"):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(front.client.get, "/wait/3000")
            time.sleep(0.5)
            front.process.send_signal(signal.SIGUSR1)
            eventually(lambda: front.log().count("server started") == 2)
            assert front.client.get("/bytes/1").status == 200
            assert answer.done() == (server is LighttpdSpawn)
            assert answer.result().status == 200
