"""PostgreSQL restarts, dies, freezes, vanishes and refuses, while clients read and write through nginx and two workers.

No worker dies. Reads recover by themselves. A write is never done twice, and what was acknowledged is there; what is
said not to have been done was not. While the database is known to be away an answer takes milliseconds, and within a
second of its return all is well.
"""
import collections
import contextlib
import http.client
import itertools
import json
import os
import pathlib
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import threading
import time

import psycopg2
import pytest
import stack
from integration.conftest import BINARY, App, Database

THREADS = 6
PAUSE_S = 0.008  # of each thread between two requests
SETTLED_S = 1.0  # after its return
SECONDS_AWAY = 1.6
SILENCE_KNOWN_S = 3.2  # those who ask at first, and once more on the last connection, wait for HOB_REQUEST_TIMEOUT (1s)
PRIMARY_FD = 200
SETTINGS = {"fsync": "off", "full_page_writes": "off"}  # what is acknowledged survives its crash, but not the machine's
UNKNOWN = "urn:hob:outcome-unknown"
keys = itertools.count(1)
names = itertools.count(1)

Operation = collections.namedtuple("Operation", "kind key begin end status problem retry_after")


class Load:
    """A steady light load: of ten requests six read, two insert a user, two an order with its item, in a transaction.
    Each write has a key of its own, by which it is found in the database."""

    def __init__(self, app, user):
        self.port, self.user = app.client.port, user
        self.operations, self.stopping = [], threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(THREADS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)

    def _run(self, n):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        for i in itertools.count(n):
            if self.stopping.wait(PAUSE_S):
                break
            kind = ("get", "user", "get", "order", "get")[i % 5]
            self.operations.append(self._ask(connection, kind, f"k{os.getpid()}-{next(keys)}"))
        connection.close()

    def _ask(self, connection, kind, key):
        begin = time.monotonic()
        status, problem, retry_after = 0, None, None
        try:
            connection.request(*self._request(kind, key))
            answer = connection.getresponse()
            status, retry_after, body = answer.status, answer.headers["Retry-After"], answer.read()
            problem = json.loads(body)["type"] if status >= 400 and body.startswith(b"{") else None
        except (OSError, http.client.HTTPException):
            connection.close()
        return Operation(kind, key, begin, time.monotonic(), status, problem, retry_after)

    def _request(self, kind, key):
        as_json = {"Content-Type": "application/json"}
        if kind == "get":
            return "GET", f"/api/v1/users/{self.user}"
        if kind == "user":
            return "POST", "/api/v1/users", json.dumps({"name": key, "email": f"{key}@load"}), as_json
        items = [{"sku": key, "quantity": 1, "unit_price_cents": 1}]
        return "POST", f"/api/v1/users/{self.user}/orders", json.dumps({"items": items}), as_json


class Service:
    """An application of its own with a database of its own, in which it is no superuser."""

    def __init__(self, place):
        self.place = place
        self.database = Database(place, SETTINGS, name=f"postgresql-fault-{next(names)}")
        self.database.start()
        stack.migrate(BINARY, self.database)
        self.database.execute("CREATE ROLE app LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO app")
        self.user, = self.database.execute("INSERT INTO users (name, email) VALUES ('x', 'x@x') RETURNING id")[0]
        self.url = self.database.url.replace("users_api@", "app@", 1)

    def app(self, url=None, **environment):
        settings = {"DATABASE_URL": url or self.url, "HOB_REQUEST_TIMEOUT": "1s"}
        app = App(self.place, settings | environment, count=2)
        app.start()
        return app

    def end_sessions(self):
        return self.database.execute("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                                     " WHERE usename = 'app'")[0][0]


@pytest.fixture(scope="module")
def service(place):
    service = Service(place)
    yield service
    service.database.stop()


@pytest.fixture(scope="module")
def shared_app(service):
    app = service.app()
    yield app
    app.stop()
    assert not app.ended_badly(), app.workers.log()[-4000:]


@pytest.fixture
def calm_app(shared_app, service):
    """What a test finds and leaves is an application that is well. nginx keeps its connections, so only requests at the
    same time come to both workers."""
    def well():
        with Load(shared_app, service.user) as load:
            time.sleep(0.2)
        return all(map(succeeded, load.operations))

    stack.wait_for(well, 10, "both workers")
    yield shared_app
    assert len(shared_app.workers.alive()) == 2, shared_app.workers.log()[-4000:]
    assert not shared_app.workers.statuses


def rows_of(database):
    """How often each key is there."""
    emails = database.execute("SELECT split_part(email, '@', 1), count(*) FROM users GROUP BY 1")
    skus = database.execute("SELECT sku, count(*) FROM order_items GROUP BY 1")
    return collections.Counter(dict(emails)) + collections.Counter(dict(skus))


def succeeded(operation):
    return operation.status == (200 if operation.kind == "get" else 201)


def assert_nothing_lost(load, database, refusals=(503, 504)):
    """Each answer is one of those expected, and says what is in the database."""
    there = rows_of(database)
    for o in load.operations:
        assert succeeded(o) or o.status in refusals, o
        assert there[o.key] <= 1, o
        if o.kind != "get" and succeeded(o):
            assert there[o.key] == 1, o
        if o.status == 503 and o.problem == UNKNOWN:
            assert o.kind != "get" and o.retry_after is None, o
        elif o.status == 503:
            assert there[o.key] == 0 and o.retry_after is not None, o
    count = collections.Counter((o.kind, o.status, o.problem == UNKNOWN) for o in load.operations)
    print(", ".join(f"{n} {kind} {status}{' unknown' * lost}" for (kind, status, lost), n in sorted(count.items())))


def assert_answers_at_once(load, begin, end):
    """While it is known that the database is away."""
    times = [o.end - o.begin for o in load.operations if begin <= o.begin and o.end <= end]
    refused = [o for o in load.operations if begin <= o.begin and o.end <= end and not succeeded(o)]
    assert len(times) > 20 and len(refused) == len(times)
    median, longest = statistics.median(times), max(times)
    print(f"away: {len(times)} answers, median {median * 1000:.1f} ms, longest {longest * 1000:.1f} ms")
    assert median < 0.05 and longest < 0.6


def assert_recovered(load, back, settled_s=SETTLED_S):
    first = min(o.end for o in load.operations if succeeded(o) and o.end > back) - back
    late = [o for o in load.operations if o.begin > back + settled_s and not succeeded(o)]
    print(f"first success {first * 1000:.0f} ms after the return")
    assert first < SETTLED_S
    assert not late, late[:5]
    assert any(o.begin > back + settled_s for o in load.operations)


@contextlib.contextmanager
def under_load(app, service, before=0.2, after=1.3):
    with Load(app, service.user) as load:
        time.sleep(before)
        yield load
        time.sleep(after)


def answers(database):
    """When it does again."""
    def connects():
        with contextlib.suppress(psycopg2.OperationalError):
            database.connect().close()
            return True

    stack.wait_for(connects, 30, "PostgreSQL")
    return time.monotonic()


# ---- It goes and comes ----


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart(calm_app, service, mode):
    with under_load(calm_app, service) as load:
        service.database.stop_signal = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        service.database.stop()
        service.database.start()
        back = answers(service.database)
    service.database.stop_signal = signal.SIGINT
    assert_nothing_lost(load, service.database, refusals=(503,))
    assert_recovered(load, back)


def test_a_stop_and_a_later_start(calm_app, service):
    with under_load(calm_app, service) as load:
        service.database.stop()
        stopped = time.monotonic()
        time.sleep(SECONDS_AWAY)
        starting = time.monotonic()
        service.database.start()
        back = answers(service.database)
    assert_nothing_lost(load, service.database, refusals=(503,))
    assert_answers_at_once(load, stopped + 0.3, starting)
    assert_recovered(load, back)


def test_sessions_are_terminated_again_and_again(calm_app, service):
    ended = 0
    with under_load(calm_app, service) as load:
        for _ in range(16):
            ended += service.end_sessions()
            time.sleep(0.05)
        back = time.monotonic()
    assert ended > 16
    assert_nothing_lost(load, service.database, refusals=(503,))
    assert_recovered(load, back)
    reads = [o for o in load.operations if o.kind == "get"]
    assert sum(not succeeded(o) for o in reads) < len(reads) / 10


def backends(database):
    """The pids of the application's sessions."""
    return [pid for pid, in database.execute("SELECT pid FROM pg_stat_activity WHERE usename = 'app'")]


def test_a_session_is_killed_in_the_middle(calm_app, service):
    """In a batch or a transaction: PostgreSQL then ends all others without a word and recovers."""
    with under_load(calm_app, service) as load:
        for _ in range(2):
            os.kill(backends(service.database)[0], signal.SIGKILL)
            time.sleep(0.1)
            back = answers(service.database)
            time.sleep(0.4)
    assert_nothing_lost(load, service.database, refusals=(503,))
    assert_recovered(load, back)


def slow_commits(service, seconds):
    """A commit that inserts a user or an order's items takes so long; 0: as ever."""
    for table in ("users", "order_items"):
        service.database.execute(f"DROP TRIGGER IF EXISTS slow ON {table}")
    service.database.execute("CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
                             f" 'BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END'")
    for table in ("users", "order_items") if seconds else ():
        service.database.execute(f"CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED"
                                 " FOR EACH ROW EXECUTE FUNCTION slow()")


@pytest.mark.parametrize("how", ["terminated", "killed"])
def test_commits_are_cut_off(calm_app, service, how):
    """What became of them nobody can know, and the answer says so."""
    slow_commits(service, 0.05)
    with under_load(calm_app, service) as load:
        for _ in range(8 if how == "terminated" else 2):
            if how == "terminated":
                service.end_sessions()
            else:
                os.kill(backends(service.database)[0], signal.SIGKILL)
                time.sleep(0.1)
            back = answers(service.database)
            time.sleep(0.2)
    slow_commits(service, 0)
    assert_nothing_lost(load, service.database, refusals=(503,))
    assert_recovered(load, back)
    assert any(o.problem == UNKNOWN for o in load.operations)


# ---- It says nothing ----


def children(pid):
    return [int(child) for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_frozen_server(calm_app, service):
    """Nobody can tell at first; whoever asks then is answered at his deadline, the later ones at once."""
    postmaster = service.database.process.pid
    with under_load(calm_app, service) as load:
        frozen = [postmaster, *children(postmaster)]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        time.sleep(SILENCE_KNOWN_S + 1)
        back = time.monotonic()
        for pid in frozen + [pid for pid in children(postmaster) if pid not in frozen]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    assert_nothing_lost(load, service.database)
    assert max(o.end - o.begin for o in load.operations) < 2.5  # HOB_REQUEST_TIMEOUT is 1s
    assert_answers_at_once(load, began + SILENCE_KNOWN_S, back)
    assert_recovered(load, back)


class Wire(threading.Thread):
    """TCP on our side, the database's socket on the other; while cut nothing passes, and nobody is told."""

    def __init__(self, socket_path):
        super().__init__(daemon=True)
        self.target, self.cut, self.stopping = socket_path, False, False
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listening.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listening, selectors.EVENT_READ)

    def run(self):
        while not self.stopping:
            for key, _ in self.selector.select(0.05):
                if not self.cut:
                    self._accept() if key.data is None else self._pass_on(key.fileobj, key.data)
            while self.cut and not self.stopping:
                time.sleep(0.01)

    def _accept(self):
        near, _ = self.listening.accept()
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(self.target)
        except OSError:
            near.close()
            return
        self.selector.register(near, selectors.EVENT_READ, far)
        self.selector.register(far, selectors.EVENT_READ, near)

    def _pass_on(self, source, sink):
        try:
            data = source.recv(65536)
            sink.sendall(data)
        except OSError:
            data = b""
        if not data:
            for end in (source, sink):
                with contextlib.suppress(KeyError, ValueError):
                    self.selector.unregister(end)
                end.close()

    def stop(self):
        self.stopping = True
        self.join()


def test_a_black_hole(service):
    wire = Wire(str(service.database.socket_directory / ".s.PGSQL.5432"))
    wire.start()
    app = service.app(f"postgresql://app@127.0.0.1:{wire.port}/users_api")
    try:
        with under_load(app, service) as load:
            wire.cut = True
            began = time.monotonic()
            time.sleep(SILENCE_KNOWN_S + 1)
            wire.cut = False
            back = time.monotonic()
        assert len(app.workers.alive()) == 2
    finally:
        app.stop()
        wire.stop()
    assert_nothing_lost(load, service.database)
    assert_answers_at_once(load, began + SILENCE_KNOWN_S, back)
    assert_recovered(load, back)


# ---- It refuses ----


def test_too_many_connections(calm_app, service):
    """One of eight is left: a worker without any refuses at once, and says so to the log once an attempt."""
    logged = calm_app.workers.log().count("too many connections")
    with under_load(calm_app, service) as load:
        service.database.execute("ALTER ROLE app CONNECTION LIMIT 1")
        service.end_sessions()
        time.sleep(SECONDS_AWAY)
        service.database.execute("ALTER ROLE app CONNECTION LIMIT -1")
        back = time.monotonic()
    assert_nothing_lost(load, service.database, refusals=(503,))
    assert_recovered(load, back)
    refused = sum(not succeeded(o) for o in load.operations)
    assert 0 < calm_app.workers.log().count("too many connections") - logged < min(40, refused)


@contextlib.contextmanager
def hba(service, line):
    path = service.database.data / "pg_hba.conf"
    before = path.read_text()
    try:
        path.write_text(f"{line}\n{before}")
        service.database.execute("SELECT pg_reload_conf()")
        yield
    finally:
        path.write_text(before)
        service.database.execute("SELECT pg_reload_conf()")


def test_a_wrong_password(service):
    log = "password authentication failed"
    service.database.execute("ALTER ROLE app PASSWORD 'another'")
    url = service.url.replace("app@", "app:wrong@", 1)
    app = service.app(url)
    try:
        with under_load(app, service) as load:
            with hba(service, "local all app scram-sha-256"):
                time.sleep(0.2)
                service.end_sessions()
                began = time.monotonic()
                time.sleep(SECONDS_AWAY)
                back = time.monotonic()
        assert 2 <= app.workers.log().count(log) < 30
        assert app.workers.log().count("wrong@") == 0
        assert len(app.workers.alive()) == 2
    finally:
        app.stop()
    assert_nothing_lost(load, service.database, refusals=(503,))
    assert_answers_at_once(load, began + 0.5, back)
    assert_recovered(load, back)


def test_it_takes_no_writes_for_some_time(calm_app, service):
    with under_load(calm_app, service) as load:
        service.database.execute("ALTER ROLE app SET default_transaction_read_only = on")
        service.end_sessions()
        time.sleep(1.0)  # what losing all sessions costs is another test's matter
        began = time.monotonic()
        time.sleep(1.5)
        service.database.execute("ALTER ROLE app RESET default_transaction_read_only")
        back = time.monotonic()
        time.sleep(1.2)  # connections that are younger than a second are not replaced
    assert_nothing_lost(load, service.database, refusals=(503,))
    away = [o for o in load.operations if began < o.begin and o.end < back]
    assert all(succeeded(o) == (o.kind == "get") for o in away), away
    assert_recovered(load, back, settled_s=2.0)


class Standby(Database):
    """A hot standby of another."""

    def __init__(self, place, primary):
        super().__init__(place, SETTINGS, name=f"postgresql-standby-{next(names)}")
        self.primary = primary

    @contextlib.contextmanager
    def _opened(self, *directories):
        """The primary's sockets, too, under a name that is always the same."""
        with super()._opened(*directories) as (options, names):
            primary = os.open(self.primary.socket_directory, os.O_RDONLY | os.O_DIRECTORY)
            os.dup2(primary, PRIMARY_FD, inheritable=False)
            os.close(primary)
            try:
                yield options | {"pass_fds": [*options["pass_fds"], PRIMARY_FD]}, names
            finally:
                os.close(PRIMARY_FD)

    def _create(self):
        self._own_directory(self.data)
        with self._opened(self.data) as (options, (data,)), open(self.log_path, "ab") as log:
            subprocess.run([self.programs / "pg_basebackup", "-D", data, "-R", "-X", "stream", "-c", "fast", "-h",
                            f"/proc/self/fd/{PRIMARY_FD}", "-U", self.role], check=True, stdout=log, stderr=log,
                           **options)


@contextlib.contextmanager
def standby_of(service):
    standby = Standby(service.place, service.database)
    standby.start()
    try:
        yield standby
    finally:
        standby.stop()
        shutil.rmtree(standby.data)


def test_a_standby_and_its_promotion(service):
    """Reads pass, writes are refused (25006). Of two servers the one that takes writes is found, also after the other
    has gone."""
    with standby_of(service) as standby:
        alone = service.app(standby.url.replace("users_api@", "app@", 1))
        try:
            assert alone.client.get(f"/api/v1/users/{service.user}").status == 200
            for _ in range(3):
                answer = alone.client.post("/api/v1/users", {"name": "no", "email": "no@no"})
                assert answer.status == 503 and answer.headers["Retry-After"], answer
                assert alone.client.get(f"/api/v1/users/{service.user}").status == 200
        finally:
            alone.stop()
        hosts = f"{standby.socket_directory},{service.database.socket_directory}"
        app = service.app(f"host={hosts} user=app dbname=users_api target_session_attrs=read-write")
        try:
            stack.wait_for(lambda: standby.execute("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"), 10,
                           "the standby")
            with under_load(app, service) as load:
                service.database.stop()
                time.sleep(0.5)
                standby.execute("SELECT pg_promote()")
                back = time.monotonic()
            assert len(app.workers.alive()) == 2
        finally:
            app.stop()
        assert_nothing_lost(load, standby, refusals=(503,))
        assert_recovered(load, back)
        service.database.start()
    answers(service.database)


# ---- It changes ----


def test_the_schema_changes_under_prepared_statements(calm_app, service):
    """A column's type, again and again: nobody notices."""
    with under_load(calm_app, service) as load:
        for kind in ("varchar(150)", "varchar(200)", "varchar(250)", "text"):
            service.database.execute(f"ALTER TABLE users ALTER name TYPE {kind}")
            time.sleep(0.15)
            service.database.execute(f"ALTER TABLE orders ADD COLUMN extra{next(keys)} int")
            time.sleep(0.15)
    assert_nothing_lost(load, service.database, refusals=())


def test_a_client_that_goes_takes_its_query_along(service):
    """No timeout ends it: the connection is closed, and the server looks every second whether its client is there."""
    none = {"HOB_REQUEST_TIMEOUT": "60s", "HOB_DB_STATEMENT_TIMEOUT": "0s", "HOB_DB_LOCK_TIMEOUT": "0s"}
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Lock'"
    app = service.app(**none)
    lock = service.database.connect()
    lock.cursor().execute("LOCK TABLE order_items")
    try:
        with socket.create_connection(("127.0.0.1", app.client.port)) as client:
            client.sendall(b"GET /api/v1/orders/1 HTTP/1.1\r\nHost: x\r\n\r\n")
            stack.wait_for(lambda: service.database.execute(waiting)[0][0] == 1, 10, "the query")
        stack.wait_for(lambda: service.database.execute(waiting)[0][0] == 0, 5, "its end")
        assert app.client.get(f"/api/v1/users/{service.user}").status == 200
    finally:
        lock.close()
        app.stop()


def test_two_slow_queries_stop_nobody(calm_app, service):
    """Each worker waits for a locked table twice, and answers all else meanwhile."""
    connection = service.database.connect()
    connection.cursor().execute("LOCK TABLE order_items")
    try:
        slow = [threading.Thread(target=calm_app.client.get, args=(f"/api/v1/orders/{n}",)) for n in (1, 2)]
        for thread in slow:
            thread.start()
        time.sleep(0.1)
        times = []
        for _ in range(100):
            began = time.monotonic()
            assert calm_app.client.get(f"/api/v1/users/{service.user}").status == 200
            times.append(time.monotonic() - began)
        assert any(thread.is_alive() for thread in slow)
        assert max(times) < 0.5
    finally:
        connection.close()
    for thread in slow:
        thread.join()
