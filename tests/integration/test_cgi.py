"""users-api as a plain CGI program, run as a web server would: the same answers as over FastCGI, and nothing connected
that the request does not need."""
import json
import os
import re
import selectors
import signal
import socket
import socketserver
import subprocess
import threading
import time
import urllib.parse

import pytest
import stack
from conftest import BINARY, SUPPORT, Answer, assert_problem, counter

SANITIZED = "san" in os.environ.get("HOB_BUILD", "")
USERS = "/api/v1/users"
ITEMS = b'{"items":[{"sku":"tea-50","quantity":2,"unit_price_cents":999}]}'


# ---- Running it ----


class Response:
    """What a CGI program wrote, as an Answer reads it."""

    def __init__(self, output):
        head, _, self.body = output.partition(b"\r\n\r\n")
        self.headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.status = int(self.headers.pop("Status").split()[0])

    def read(self):
        return self.body


class Cgi:
    def __init__(self, settings, program=BINARY):
        self.settings, self.program = settings, program

    def start(self, method="GET", target="/ping", body=None, arguments=(), variables=None, **options):
        environment = stack.base_environment() | self.settings | {
            "GATEWAY_INTERFACE": "CGI/1.1", "SERVER_PROTOCOL": "HTTP/1.1", "REQUEST_METHOD": method,
            "REQUEST_URI": target, "REMOTE_ADDR": "192.0.2.1"}
        if body is not None:
            environment |= {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "application/json"}
        environment |= variables or {}
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.Popen([self.program, *arguments], env={k: v for k, v in environment.items() if v is not None},
                                **options)

    def request(self, method="GET", target="/ping", body=None, status=0, **options):
        process = self.start(method, target, body, **options)
        output, self.log = process.communicate(body, timeout=30)
        assert process.returncode == status, (process.returncode, output, self.log)
        return Answer(Response(output))


@pytest.fixture
def cgi(settings):
    return Cgi(settings)


@pytest.fixture
def user(http_client):
    return http_client.new_user()


def user_body():
    return json.dumps({"name": "Ada", "email": f"cgi{next(counter)}@example.com"}).encode()


# ---- The same answers ----

CASES = [
    ("GET", "/ping", None),
    ("HEAD", "/ping", None),
    ("OPTIONS", USERS, None),
    ("GET", "/livez", None),
    ("GET", "/readyz", None),
    ("GET", "/nowhere", None),
    ("DELETE", USERS, None),
    ("FOO", USERS, None),
    ("GET", "/%ff", None),
    ("GET", USERS + "/../users", None),
    ("GET", f"{USERS}/{{id}}", None),
    ("HEAD", f"{USERS}/{{id}}", None),
    ("GET", f"{USERS}/{{id}}/summary", None),
    ("GET", f"{USERS}/{{id}}/orders", None),
    ("GET", f"{USERS}/9223372036854775807", None),
    ("GET", f"{USERS}?limit=2", None),
    ("GET", f"{USERS}?limit=0", None),
    ("POST", USERS, b""),
    ("POST", USERS, b'{"name":'),
    ("POST", USERS, b'{"name":"","mail":1}'),
    ("POST", USERS, b" " * 2000000),
    ("PATCH", f"{USERS}/{{id}}", b"{}"),
    ("PUT", f"{USERS}/{{id}}", b"[]"),
    ("POST", f"{USERS}/9223372036854775807/orders", ITEMS),
]


def comparable(answer):
    """Without what every answer has of its own, and what nginx adds."""
    headers = {name: value for name, value in answer.headers.items()
               if name not in ("X-Request-ID", "Server", "Date", "Connection")}
    return answer.status, headers, re.sub(rb'"instance":"[^"]*"', b"", answer.body)


@pytest.mark.parametrize("method, target, body", CASES, ids=lambda value: str(value)[:40])
def test_it_answers_as_over_fastcgi(cgi, http_client, user, method, target, body):
    target = target.format(id=user["id"])
    headers = {} if body is None else {"Content-Type": "application/json"}
    over_fastcgi = http_client.request(method, target, body=body, headers=headers)
    assert comparable(cgi.request(method, target, body)) == comparable(over_fastcgi)


def test_writing(cgi, http_client):
    created = cgi.request("POST", USERS, user_body())
    assert created.status == 201, created
    location = created.headers["Location"]
    assert http_client.get(location).json == created.json
    order = cgi.request("POST", f"{location}/orders", ITEMS)
    assert order.status == 201, order
    assert http_client.get(order.headers["Location"]).json == order.json
    assert cgi.request("PATCH", location, b'{"name":"Eve"}').status == 200
    assert http_client.get(location).json["name"] == "Eve"  # the cache was told before the process ended
    assert_problem(cgi.request("DELETE", location), 409)


def test_a_chunked_body_comes_without_its_length(cgi):
    body = user_body()
    chunked = {"CONTENT_LENGTH": None, "HTTP_TRANSFER_ENCODING": "chunked"}
    assert cgi.request("POST", USERS, body, variables=chunked).status == 201
    assert_problem(cgi.request("DELETE", USERS + "/1", b" " * 2000000, variables=chunked), 413)


def test_the_words_of_a_query_are_no_commands(cgi):
    """RFC 3875, 4.4: of a query without '=' Apache makes arguments."""
    for arguments in (["routes"], ["migrate", "/"], ["--print-config"], ["no", "such"]):
        answer = cgi.request("GET", "/ping?" + "+".join(arguments), arguments=arguments)
        assert (answer.status, answer.body) == (200, b'{"message":"pong"}')


# ---- What it connects to ----


class Relay(socketserver.ThreadingUnixStreamServer):
    """Passes on what comes, except what holds `lost`, and counts the connections. Without a target it takes them, and
    that is all."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path, target):
        self.target, self.lost, self.count, self.closing = target, None, 0, threading.Event()
        super().__init__(str(path), self.Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def verify_request(self, request, address):
        self.count += 1
        return True

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            if self.server.target is None:
                self.server.closing.wait()
                return
            with socket.socket(socket.AF_UNIX) as behind, selectors.DefaultSelector() as ready:
                behind.connect(str(self.server.target))
                ready.register(self.request, selectors.EVENT_READ, behind)
                ready.register(behind, selectors.EVENT_READ, self.request)
                while True:
                    for key, _ in ready.select():
                        data = key.fileobj.recv(65536)
                        if not data:
                            return
                        if self.server.lost is None or self.server.lost not in data:
                            key.data.sendall(data)

    def stop(self):
        self.closing.set()
        self.shutdown()
        self.server_close()


class Between:
    """A CGI program that reaches database and cache through relays."""

    def __init__(self, place, settings, database, memcached, silent=False):
        directory = place.sockets / f"relays-{next(counter):03}"
        directory.mkdir()
        target = None if silent else database.socket_directory / ".s.PGSQL.5432"
        self.database = Relay(directory / ".s.PGSQL.5432", target)
        self.memcached = Relay(directory / "memcached.sock", memcached.socket_path)
        host = urllib.parse.quote(str(directory), safe="")
        self.settings = settings | {"DATABASE_URL": f"postgresql://{database.role}@/{database.database}?host={host}",
                                    "HOB_CACHE": str(directory / "memcached.sock")}
        self.cgi = Cgi(self.settings)

    def connections(self, *request):
        """The answer, and what it took of the database and of memcached."""
        before = self.database.count, self.memcached.count
        answer = self.cgi.request(*request)
        return answer, self.database.count - before[0], self.memcached.count - before[1]

    def stop(self):
        self.database.stop()
        self.memcached.stop()


@pytest.fixture
def between(place, settings, database, memcached):
    between = Between(place, settings, database, memcached)
    yield between
    between.stop()


@pytest.fixture
def silent(place, settings, database, memcached):
    """Its database takes connections and never says a word."""
    between = Between(place, settings, database, memcached, silent=True)
    yield between
    between.stop()


@pytest.mark.parametrize("status, request_line", [
    (200, ("GET", "/ping")),
    (200, ("HEAD", "/ping")),
    (200, ("GET", "/livez")),
    (404, ("GET", "/nowhere")),
    (405, ("DELETE", USERS)),
    (204, ("OPTIONS", USERS)),
    (400, ("GET", USERS + "?limit=0")),
    (400, ("POST", USERS, b"{")),
    (422, ("POST", USERS, b"{}")),
])
def test_nothing_is_connected_for_nothing(between, status, request_line):
    answer, database, memcached = between.connections(*request_line)
    assert (answer.status, database, memcached) == (status, 0, 0)


def test_what_is_cached_needs_no_database(between, user):
    target = f"{USERS}/{user['id']}"
    answer, database, memcached = between.connections("GET", target)
    assert (answer.json, database) == (user, 1)
    answer, database, memcached = between.connections("GET", target)
    assert (answer.json, database) == (user, 0) and memcached > 0


def test_one_connection_is_enough(between, user):
    one = f"{USERS}/{user['id']}"
    for status, request_line in [
        (200, ("GET", USERS)),
        (200, ("GET", one + "/summary")),
        (201, ("POST", USERS, user_body())),
        (201, ("POST", one + "/orders", ITEMS)),
        (200, ("PATCH", one, b'{"name":"Eve"}')),
        (200, ("GET", "/readyz")),
    ]:
        answer, database, _ = between.connections(*request_line)
        assert (answer.status, database) == (status, 1), request_line


def test_a_cache_with_a_name_is_used(settings, place, database, user):
    """The name is waited for: no later request has the use of it."""
    port = stack.free_port()
    memcached = stack.Daemon(place)
    memcached.name = f"memcached-{next(counter):03}"
    as_root = ["-u", "root"] if os.geteuid() == 0 else []
    memcached.spawn(["memcached", "-l", "127.0.0.1", "-p", str(port), "-U", "0", *as_root])
    try:
        memcached.wait_ready(lambda: stack.accepts(socket.AF_INET, ("127.0.0.1", port)))
        cgi = Cgi(settings | {"HOB_CACHE": f"localhost:{port}"})
        target = f"{USERS}/{user['id']}"
        assert cgi.request("GET", target).json == user
        database.execute("UPDATE users SET name = 'Behind its back' WHERE id = %s", user["id"])
        assert cgi.request("GET", target).json == user
        assert cgi.request("PATCH", target, b'{"name":"Eve"}').status == 200
        assert cgi.request("GET", target).json["name"] == "Eve"
        assert cgi.request("GET", "/readyz").json["cache"] == "up"
    finally:
        memcached.stop()


# ---- Readiness ----


def test_readiness_is_the_truth(cgi, settings):
    ready = cgi.request("GET", "/readyz")
    assert (ready.status, ready.json) == (200, {"status": "ready", "database": "up", "cache": "up"})
    no_cache = Cgi(settings | {"HOB_CACHE": "/nonexistent/memcached.sock"}).request("GET", "/readyz")
    assert (no_cache.status, no_cache.json) == (200, {"status": "ready", "database": "up", "cache": "down"})
    no_database = Cgi(settings | {"DATABASE_URL": "postgresql:///x?host=/nonexistent"}).request("GET", "/readyz")
    assert (no_database.status, no_database.json) == (
        503, {"status": "not ready", "database": "down", "cache": "up"})


def test_readiness_is_found_out_in_time(silent):
    started = time.monotonic()
    answer = silent.cgi.request("GET", "/readyz")
    assert (answer.status, answer.json["database"]) == (503, "down")
    assert time.monotonic() - started < 5


# ---- What goes wrong ----


def test_a_database_that_is_down_is_known_at_once(settings, user):
    cgi = Cgi(settings | {"DATABASE_URL": "postgresql:///x?host=/nonexistent", "HOB_CACHE": None})
    started = time.monotonic()
    for request_line in [("GET", f"{USERS}/{user['id']}"), ("POST", USERS, user_body())]:
        answer = cgi.request(*request_line)
        assert_problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
    assert time.monotonic() - started < 2


def test_a_database_that_says_nothing_is_waited_for_three_seconds(silent):
    started = time.monotonic()
    answer = silent.cgi.request("GET", USERS)
    assert_problem(answer, 503)
    assert answer.headers["Retry-After"]
    assert 2.5 < time.monotonic() - started < 5


def test_a_cache_that_is_down_is_no_error(settings, user):
    cgi = Cgi(settings | {"HOB_CACHE": "/nonexistent/memcached.sock"})
    assert cgi.request("GET", f"{USERS}/{user['id']}").json == user
    assert cgi.request("PATCH", f"{USERS}/{user['id']}", b'{"name":"Eve"}').status == 200


def test_a_slow_upload_is_no_overload(cgi):
    """Time spent on reading is not time spent waiting (HOB_MAX_QUEUE_TIME)."""
    body = user_body()
    process = cgi.start("POST", USERS, body)
    process.stdin.write(body[:5])
    process.stdin.flush()
    time.sleep(1.3)
    output, _ = process.communicate(body[5:], timeout=30)
    assert Response(output).status == 201, output


def test_a_web_server_that_does_not_listen_any_more(cgi):
    reader, writer = os.pipe()
    os.close(reader)
    process = cgi.start("GET", "/ping", stdin=subprocess.DEVNULL, stdout=writer)
    os.close(writer)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0 and b"could not be handed" in log, log


def test_the_end_of_the_output_is_the_end_of_the_wait(between, user):
    """What the cache is still to be told is told behind the answer: here it never hears of the value."""
    between.memcached.lost = b"gets users-api:user:"
    process = between.cgi.start("GET", f"{USERS}/{user['id']}", stdin=subprocess.DEVNULL,
                                variables={"HOB_CACHE_TIMEOUT": "1s"})
    assert Response(process.stdout.read()).status == 200
    answered = time.monotonic()
    process.communicate(timeout=30)
    assert process.returncode == 0 and time.monotonic() - answered > 0.5


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_is_given_up(cgi, database, lock, eventually, sig):
    """Apache sends SIGTERM to a program that it does not wait for any longer."""
    def waiting():
        return database.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'users-api'"
                                " AND wait_event_type = 'Lock'")[0][0]

    lock("users")
    process = cgi.start("POST", USERS, user_body())
    process.stdin.write(user_body())
    process.stdin.close()
    eventually(lambda: waiting() == 1)
    process.send_signal(sig)
    started = time.monotonic()
    assert process.wait(10) == 0 and time.monotonic() - started < 2
    assert process.stdout.read() == b""
    eventually(lambda: waiting() == 0)


def test_a_program_that_waits_for_its_body_ends_at_once(cgi):
    process = cgi.start("POST", USERS, b"{}")
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) in (0, -signal.SIGTERM)


@pytest.mark.skipif(SANITIZED, reason="the sanitizer has handlers of its own for these signals")
@pytest.mark.parametrize("kind, sig", [("null_write", signal.SIGSEGV), ("stack_overflow", signal.SIGSEGV),
                                       ("call_abort", signal.SIGABRT), ("branch", signal.SIGSEGV)])
def test_a_crash_is_answered(kind, sig):
    cgi = Cgi({"HOB_LOG_LEVEL": "info"}, SUPPORT / "crasher")
    answer = cgi.request("GET", f"/crash/{kind}", status=-sig)
    assert_problem(answer, 500)
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    line = json.loads(next(line for line in cgi.log.splitlines() if b"the worker crashed" in line))
    assert line["request_id"] == answer.headers["X-Request-ID"] and line["answered"] == 1
    assert cgi.request("HEAD", f"/crash/{kind}", status=-sig).body == b""
