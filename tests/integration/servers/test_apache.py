"""What Apache itself does by the files of conf/apache/: problem documents, its log, limits, compression, addresses; and
the life of the workers that mod_fcgid starts."""
import concurrent.futures
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import time

import pytest
from conftest import SUPPORT, Lock, assert_problem
from supervised import exists

from .apache import ApacheCgid, ApacheFcgid, ApacheProxyFcgi
from .base import logged
from .conftest import URL, started

pytestmark = pytest.mark.skipif(bool(URL.hostname), reason="conf/apache/ is not what is served there")
CLIENT = {"X-Forwarded-For": "203.0.113.7"}
USERS = "/api/v1/users"


@pytest.fixture(scope="module", params=[ApacheProxyFcgi, ApacheFcgid, ApacheCgid], ids=lambda server: server.kind)
def apache(request, place, settings):
    yield from started(place, settings, request.param, mount="/shop")


@pytest.fixture(scope="module")
def proxy(place, settings):
    """What differs in no module."""
    class Strict(ApacheProxyFcgi):
        def configure(self):
            super().configure()
            file = self.directory / "conf/users-api.conf"
            everyone = "Require ip 127.0.0.0/8 ::1 10.0.0.0/8"
            assert everyone in file.read_text()
            file.write_text(file.read_text().replace(everyone, "Require ip 10.0.0.0/8"))

    yield from started(place, settings, Strict, mount="/shop")


@pytest.fixture
def apache_alone(place):
    """In front of nobody."""
    class Alone(ApacheProxyFcgi):
        workers_mode = "none"

    yield from started(place, {}, Alone)


def raw(port, data):
    """The answer to what http.client would not send."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response, response.read()


def over_tls(front, target, **headers):
    context = ssl.create_default_context(cafile=front.directory / "fullchain.pem")
    connection = http.client.HTTPSConnection("127.0.0.1", front.tls_port, timeout=10, context=context)
    connection.request("GET", target, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


# ---- Problem documents of its own ----


def test_not_found_outside_of_the_mount(apache):
    answer = apache.client.get("/ping", headers={"X-Request-ID": "mine"})
    assert_problem(answer, 404, "Not Found")
    assert answer.headers["X-Request-ID"] == "mine"


def test_no_worker(apache_alone):
    for method in ("GET", "POST"):
        answer = apache_alone.client.request(method, "/ping", headers={"X-Request-ID": "not mine"})
        assert_problem(answer, 503, "Service Unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert len(answer.headers["X-Request-ID"]) == 27
    head = apache_alone.client.request("HEAD", "/ping")
    assert (head.status, head.body) == (503, b"")


def test_a_body_beyond_apache_s_own_limit(apache):
    headers = {"Content-Type": "application/json", "Content-Length": str(9 * 1024 * 1024)}
    assert_problem(apache.client.post(f"/shop{USERS}", body=b"", headers=headers), 413, "Content Too Large")


def test_a_chunked_body_beyond_apache_s_own_limit(apache):
    answer = apache.client.post(f"/shop{USERS}", body=iter([b" " * 1024 * 1024] * 9),
                                headers={"Content-Type": "application/json"})
    assert_problem(answer, 500 if isinstance(apache, ApacheFcgid) else 413)


def test_a_header_too_large(proxy):
    assert_problem(proxy.client.get("/shop/ping", headers={"X-Large": "x" * 9000}), 400, "Bad Request")
    assert_problem(proxy.client.get("/shop/" + "x" * 9000), 414, "URI Too Long")


def test_a_request_that_is_none(proxy):
    """Apache has no id for what it could not read, and takes none from it."""
    answer, body = raw(proxy.port, b'GET /shop/ping HTTP/1.1\r\nHost: a\r\nX-Request-ID: "x\r\nNo Header: x\r\n\r\n')
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert json.loads(body)["instance"] == ""


def test_probes_are_not_for_everyone(proxy):
    answer, body = over_tls(proxy, "/shop/readyz")
    assert answer.status == 403 and json.loads(body)["title"] == "Forbidden"
    assert over_tls(proxy, "/shop/re%61dyz")[0].status == 403
    assert over_tls(proxy, "/shop/ping")[0].status == 200
    assert proxy.client.get("/shop/readyz").status == 200


# ---- Log and addresses ----


def test_one_id_in_both_logs(apache, eventually):
    answer = apache.client.get("/shop/ping?q=%22", headers={"User-Agent": 'a "quoted" \\ one'})
    request_id = answer.headers["X-Request-ID"]
    line = logged(apache, eventually, request_id)
    assert (line["status"], line["target"], line["user_agent"]) == (200, "/shop/ping?q=%22", 'a "quoted" \\ one')
    worker = apache.workers or apache
    eventually(lambda: any(json.loads(text).get("request_id") == request_id
                           for text in worker.log().splitlines() if text.startswith('{"ts"')))


def test_a_log_of_what_is_not_json(proxy, eventually):
    raw(proxy.port, b"GET /shop/\xff\"\\ HTTP/1.1\r\nHost: a\r\nX-Request-ID: odd\r\nUser-Agent: \xff\t\r\n"
                    b"Connection: close\r\n\r\n")
    line = logged(proxy, eventually, "odd")
    assert (line["target"], line["user_agent"]) == ("-", "-")


def test_the_client_s_address_from_a_load_balancer(apache, eventually):
    request_id = apache.client.get("/shop/ping", headers=CLIENT).headers["X-Request-ID"]
    assert logged(apache, eventually, request_id)["client"] == "203.0.113.7"


def test_over_tls_nobody_s_word_is_taken(apache, eventually):
    answer, body = over_tls(apache, "/shop/ping", **CLIENT)
    assert (answer.status, body) == (200, b'{"message":"pong"}')
    assert logged(apache, eventually, answer.headers["X-Request-ID"])["client"] == "127.0.0.1"


def test_clear_text_is_sent_to_tls(proxy):
    connection = http.client.HTTPConnection("127.0.0.1", proxy.redirect_port, timeout=10)
    connection.request("POST", "/shop/api/v1/users?x=1", headers={"Host": "api.example.com"})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Location"]) == (308, "https://api.example.com/shop/api/v1/users?x=1")
    connection.close()


# ---- Limits and compression ----


def test_compression(apache):
    for _ in range(10):
        apache.client.post(f"/shop{USERS}", {"name": "x" * 100, "email": f"{time.time_ns()}@gzip.example"})
    headers = {"Accept-Encoding": "gzip"}
    large = apache.client.get(f"/shop{USERS}?limit=100", headers=headers)
    assert large.headers["Content-Encoding"] == "gzip" and "Accept-Encoding" in large.headers["Vary"]
    small = apache.client.get("/shop/ping", headers=headers)
    assert small.headers["Content-Encoding"] is None and small.headers["Content-Length"] == "18"


def test_a_client_that_dawdles_over_its_header(proxy):
    begin = time.monotonic()
    answer, _ = raw(proxy.port, b"GET /shop/ping HTTP/1.1\r\nHost: ")
    assert answer.status == 408 and 1.5 < time.monotonic() - begin < 6


# ---- Retries ----


@pytest.mark.parametrize("server, status", [(ApacheProxyFcgi, 503), (ApacheFcgid, 500)],
                         ids=[ApacheProxyFcgi.kind, ApacheFcgid.kind])
def test_nothing_is_repeated(place, eventually, server, status):
    """The worker is killed while it has the request; another could be had, and Apache must not ask it again."""
    for front in started(place, {"HOB_LOG_LEVEL": "debug"}, server, program=SUPPORT / "mirror"):
        assert front.client.get("/bytes/1").status == 200
        for method in ("POST", "GET"):
            connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=20)
            connection.request(method, "/wait/10000")
            victim, = eventually(lambda: [slot["pid"] for slot in slots(front) if slot["in_flight"]])
            os.kill(victim, signal.SIGKILL)
            answer = connection.getresponse()
            assert answer.status == status and json.loads(answer.read())["status"] == status
            connection.close()
        assert front.client.get("/bytes/1").status == 200
        assert not any(slot["in_flight"] for slot in slots(front) if exists(slot["pid"]))


def slots(front):
    return front.workers.status()["slots"] if front.workers else front.slots()


# ---- Workers that mod_fcgid starts ----


@pytest.fixture(scope="module")
def fcgid(place, settings):
    yield from started(place, settings | {"HOB_DB_LOCK_TIMEOUT": "10s"}, ApacheFcgid)


def test_one_scoreboard_for_all_workers(fcgid, database, eventually):
    """Held up by a lock, three requests need three workers."""
    lock = Lock(database, "users")
    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        try:
            answers = [threads.submit(fcgid.client.get, f"{USERS}?limit={n}") for n in range(1, 4)]
            eventually(lambda: sum(slot["in_flight"] for slot in fcgid.slots()) == 3)
        finally:
            lock.release()
        assert [answer.result().status for answer in answers] == [200, 200, 200]
    pids = [slot["pid"] for slot in fcgid.slots()]
    assert len(set(pids)) == len(pids) >= 3 and all(map(exists, pids))


def test_a_binary_replaced_by_rename_serves_new_requests(fcgid, database, eventually):
    """While the old one still answers what it was asked."""
    lock = Lock(database, "users")
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        try:
            answer = threads.submit(fcgid.client.get, USERS)
            eventually(lambda: any(slot["in_flight"] for slot in fcgid.slots()))
            before = {slot["pid"] for slot in fcgid.slots()}
            fresh = shutil.copy(fcgid.program, fcgid.directory / "fresh")
            os.rename(fresh, fcgid.installed)
            assert fcgid.client.get("/ping").status == 200
            assert {slot["pid"] for slot in fcgid.slots()} > before
        finally:
            lock.release()
        assert answer.result().status == 200


def test_a_graceful_restart_answers_what_is_in_flight(fcgid, database, eventually):
    """mod_fcgid takes up to two seconds to begin with it, sends SIGTERM twice, and SIGKILL after eight seconds."""
    lock = Lock(database, "users")
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        try:
            answer = threads.submit(fcgid.client.get, USERS)
            eventually(lambda: any(slot["in_flight"] for slot in fcgid.slots()))
            before = {slot["pid"] for slot in fcgid.slots()}
            fcgid.process.send_signal(signal.SIGUSR1)
            eventually(lambda: any(slot["state"] == "draining" for slot in fcgid.slots()))
            assert not concurrent.futures.wait([answer], timeout=1.3).done  # the second SIGTERM has come, too
        finally:
            lock.release()
        assert answer.result().status == 200
    eventually(lambda: not any(map(exists, before)))
    assert fcgid.client.get(USERS).status == 200  # though a worker has yet to be started for it, and to connect
