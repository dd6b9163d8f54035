"""users-api as in production: nginx, workers started by spawn-fcgi, a real PostgreSQL and memcached, all private.

What the tests share is one database, one memcached and one application (two workers); app_with() starts another with
other settings. A worker that ends badly, or a report of a sanitizer, fails the test that was running.
"""
import http.client
import itertools
import json
import os
import pathlib
import socket
import sys

import psycopg2
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "conf/dev"))
import stack

BUILD = ROOT / os.environ.get("HOB_BUILD", "build")
BINARY = BUILD / "users-api"
SUPPORT = BUILD / "tests/integration/support"
NOT_SAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}  # for a database of minutes
counter = itertools.count(1)


class Database(stack.Postgres):
    def connect(self):
        return psycopg2.connect(self.url)

    def execute(self, sql, *values):
        """The rows, if there are any; committed."""
        connection = self.connect()
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql, values)
                return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()


class Cache(stack.Memcached):
    def command(self, text):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.socket_path))
            s.sendall(text.encode() + b"\r\n")
            answer = b""
            while not answer.endswith(b"END\r\n"):
                answer += s.recv(65536) or pytest.fail(f"memcached closed after {answer!r}")
            return answer.decode()

    def counter(self, name):
        return int(dict(line.split()[1:3] for line in self.command("stats").splitlines()[:-1])[name])


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def __repr__(self):
        return f"{self.status} {dict(self.headers)} {self.body[:500]!r}"

    @property
    def json(self):
        return json.loads(self.body)


class Client:
    """Speaks HTTP/1.1, a connection a request."""

    def __init__(self, port, host="127.0.0.1"):
        self.host, self.port = host, port

    def request(self, method, target, json_body=None, body=None, headers=None, timeout=30):
        """json_body is sent as application/json; body (bytes, or an iterable: chunked) as it is."""
        headers = dict(headers or {})
        if json_body is not None:
            body = json.dumps(json_body).encode()
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request(method, target, body, headers, encode_chunked=not isinstance(body, (bytes, type(None))))
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, target, **options):
        return self.request("GET", target, **options)

    def post(self, target, json_body=None, **options):
        return self.request("POST", target, json_body, **options)

    def put(self, target, json_body=None, **options):
        return self.request("PUT", target, json_body, **options)

    def patch(self, target, json_body=None, **options):
        return self.request("PATCH", target, json_body, **options)

    def delete(self, target, **options):
        return self.request("DELETE", target, **options)

    def new_user(self, **fields):
        body = {"name": "Ada", "email": f"ada{next(counter)}@example.com"} | fields
        answer = self.post("/api/v1/users", body)
        assert answer.status == 201, answer
        return answer.json

    def new_order(self, user, items=None):
        items = items or [{"sku": "tea-50", "quantity": 2, "unit_price_cents": 999}]
        answer = self.post(f"/api/v1/users/{user['id']}/orders", {"items": items})
        assert answer.status == 201, answer
        return answer.json


class App:
    """nginx in front of `count` workers."""

    def __init__(self, place, environment, count, program=BINARY):
        name = f"{next(counter):03}"
        self.workers = stack.Workers(place, program, count, environment, name=f"worker-{name}")
        self.nginx = stack.Nginx(place, stack.free_port(), self.workers.socket_path, name=f"nginx-{name}")
        self.client = Client(self.nginx.port)

    def start(self, ready=True):
        self.workers.start()
        self.nginx.start()
        if ready:
            stack.wait_ready(self.nginx.port)

    def stop(self):
        """nginx first: its kept connections are what a stopping worker waits for."""
        self.nginx.stop()
        self.workers.stop()

    def restart(self):
        self.stop()
        self.workers.statuses.clear()
        self.start()

    def ended_badly(self):
        """Wait statuses of the workers that did not exit with 0."""
        return {pid: status for pid, status in self.workers.statuses.items() if status != 0}


class Worker(stack.Daemon):
    """One worker without a web server, its listening socket on fd 0, its stderr in the log."""

    def __init__(self, place, environment, program=BINARY, **options):
        self.name = f"lone-worker-{next(counter):03}"
        super().__init__(place)
        self.program, self.options = program, options
        self.socket_path = str(place.sockets / f"{self.name}.sock")
        self.environment = stack.base_environment() | environment

    def start(self):
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.socket_path)
            listening.listen(4096)
            self.spawn([self.program], stdin=listening, env=self.environment, **self.options)

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        """The exit status."""
        if self.process is None:
            return None
        process = self.process
        super().stop()
        return process.returncode


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    place = stack.Place(tmp_path_factory.mktemp("stack"))
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
        given = os.environ.get(name)
        os.environ[name] = ":".join(filter(None, [given, f"log_path={place.path}/sanitizer:print_stacktrace=1"]))
    yield place
    stack.stop_leftovers(place.path)
    place.close()


def sanitizer_reports(place):
    return "\n".join(path.read_text(errors="replace") for path in sorted(place.path.glob("sanitizer.*")))


@pytest.fixture(autouse=True)
def no_crash(request, place):
    """The test during which a worker of the shared application dies fails; the next one has new workers."""
    yield
    report = sanitizer_reports(place)
    for path in place.path.glob("sanitizer.*"):
        path.unlink()
    if "app" in request.fixturenames:
        app = request.getfixturevalue("app")
        if len(app.workers.alive()) < app.workers.count:
            report += f"{app.ended_badly()}\n{app.workers.log()[-4000:]}"
            app.restart()
    assert not report, report


def migrated(database):
    """For a generator fixture: it runs while that is suspended."""
    with stack.running(database):
        stack.migrate(BINARY, database)
        yield database


@pytest.fixture(scope="session")
def database(place):
    yield from migrated(Database(place, NOT_SAFE))


@pytest.fixture(scope="session")
def memcached(place):
    with stack.running(Cache(place)) as memcached:
        yield memcached


@pytest.fixture
def own_memcached(place):
    """One that a test may stop and start."""
    with stack.running(Cache(place, name=f"memcached-{next(counter):03}")) as memcached:
        yield memcached


@pytest.fixture(scope="session")
def settings(database, memcached):
    """What every worker of the tests is told, unless a test says otherwise."""
    return {"DATABASE_URL": database.url, "HOB_CACHE": str(memcached.socket_path), "HOB_LOG_LEVEL": "debug"}


def with_overrides(settings, overrides):
    """None takes a setting away."""
    return {k: v for k, v in (settings | overrides).items() if v is not None}


@pytest.fixture(scope="session")
def app(place, settings):
    app = App(place, settings, count=2)
    try:
        app.start()
        yield app
    finally:
        app.stop()
        report = sanitizer_reports(place)
        assert not app.ended_badly(), f"{app.ended_badly()}\n{report}\n{app.workers.log()[-4000:]}"
        assert not report, report


@pytest.fixture
def http_client(app):
    return app.client


@pytest.fixture
def app_with(place, settings):
    """app_with({"HOB_...": "..."}, count=1): another application, stopped at the test's end."""
    started = []

    def start(overrides, count=1, ready=True):
        app = App(place, with_overrides(settings, overrides), count)
        started.append(app)
        app.start(ready)
        return app

    yield start
    for app in reversed(started):
        app.stop()
    bad = {pid: status for app in started for pid, status in app.ended_badly().items()}
    assert not bad, f"{bad}\n" + "\n".join(app.workers.log()[-4000:] for app in started)


@pytest.fixture
def worker_with(place, settings):
    """worker_with({"HOB_...": "..."}): a worker on its own socket: .socket_path, .pid, .alive(), .log(), .stop()."""
    started = []

    def start(overrides=None, **options):
        worker = Worker(place, with_overrides(settings, overrides or {}), **options)
        started.append(worker)
        worker.start()
        return worker

    yield start
    for worker in reversed(started):
        worker.stop()


@pytest.fixture
def worker(worker_with):
    return worker_with()


@pytest.fixture
def crasher_app(place):
    """crasher_app(count=1, HOB_...="..."): nginx in front of workers that may die; .workers.alive() and .statuses."""
    started = []

    def start(count=1, **settings):
        app = App(place, {"HOB_LOG_LEVEL": "info"} | settings, count, SUPPORT / "crasher")
        started.append(app)
        app.start()
        return app

    yield start
    for app in started:
        app.stop()


@pytest.fixture
def crasher(place):
    """crasher(HOB_...="..."): a lone worker that may die."""
    started = []

    def start(**settings):
        worker = Worker(place, {"HOB_LOG_LEVEL": "info"} | settings, SUPPORT / "crasher")
        started.append(worker)
        worker.start()
        return worker

    yield start
    for worker in started:
        worker.stop()


@pytest.fixture
def no_users(database):
    """Empty tables. Ids are never used again, so nothing in the cache comes to life."""
    database.execute("TRUNCATE users, orders, order_items")


@pytest.fixture
def own_database(place):
    """One that a test may stop and start."""
    yield from migrated(Database(place, NOT_SAFE, name=f"postgresql-{next(counter):03}"))


class Lock:
    """An open transaction that keeps a table to itself."""

    def __init__(self, database, table):
        self.connection = database.connect()
        self.connection.cursor().execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")

    def release(self):
        self.connection.close()


@pytest.fixture
def lock(database):
    """lock("users"): nobody else gets at the table until the test's end, or until .release()."""
    held = []

    def take(table):
        held.append(Lock(database, table))
        return held[-1]

    yield take
    for one in held:
        one.release()


def assert_problem(answer, status, title=None):
    """An answer of RFC 9457 as the application writes it; gives its document."""
    assert answer.status == status, answer
    assert answer.headers["Content-Type"] == "application/problem+json", answer
    problem = answer.json
    assert problem["type"] == "about:blank" and problem["status"] == status, answer
    assert problem["instance"] == answer.headers["X-Request-ID"], answer
    assert problem["title"] and problem["detail"], answer
    assert title in (None, problem["title"]), answer
    return problem


@pytest.fixture
def problem():
    return assert_problem


@pytest.fixture
def eventually():
    def check(condition, seconds=10):
        return stack.wait_for(condition, seconds, "what the test waits for")

    return check
