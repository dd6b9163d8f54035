"""A worker's life, CGI, and the commands."""
import json
import os
import re
import resource
import signal
import socket
import subprocess
import time

import pytest
import stack
from conftest import BINARY
from fcgi_client import Connection, request


def run(*arguments, environment=None, **options):
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 60} | options
    return subprocess.run([BINARY, *arguments], env=stack.base_environment() | (environment or {}), **options)


# ---- Stopping ----


@pytest.fixture
def kept(worker):
    """A connection the worker has accepted and keeps."""
    with Connection(worker.socket_path) as connection:
        assert connection.ask().status == 200
        yield connection


def exit_status(worker, seconds=10):
    return worker.process.wait(seconds)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_stopping_worker_serves_its_connections_until_they_are_closed(worker, kept, sig, eventually):
    eventually(lambda: kept.ask("GET", "/readyz").status == 200)
    os.kill(worker.pid, sig)
    eventually(lambda: kept.ask("GET", "/readyz").status == 503)
    assert json.loads(kept.ask("GET", "/readyz").body)["status"] == "not ready"
    assert kept.ask("GET", "/api/v1/users").status == 200
    with Connection(worker.socket_path, timeout=0.3) as late:
        late.send(request())
        with pytest.raises(TimeoutError):
            late.read_record()
    assert worker.alive()
    kept.close()
    assert exit_status(worker) == 0


def test_a_worker_without_connections_stops_at_once(worker, eventually):
    with Connection(worker.socket_path) as connection:
        assert connection.ask(keep=False).status == 200
    started = time.monotonic()
    os.kill(worker.pid, signal.SIGTERM)
    assert exit_status(worker) == 0
    assert time.monotonic() - started < 3


def test_a_request_in_flight_is_answered(worker, kept, lock, eventually):
    eventually(lambda: kept.ask("GET", "/readyz").status == 200)
    held = lock("users")
    kept.send(request("GET", "/api/v1/users"))
    time.sleep(0.2)
    os.kill(worker.pid, signal.SIGTERM)
    time.sleep(0.2)
    held.release()
    assert kept.read_response().status == 200
    kept.close()
    assert exit_status(worker) == 0


def test_the_drain_timeout_closes_what_is_left(worker_with, lock, eventually):
    worker = worker_with({"HOB_DRAIN_TIMEOUT": "300ms", "HOB_DB_LOCK_TIMEOUT": "0s", "HOB_DB_STATEMENT_TIMEOUT": "0s"})
    with Connection(worker.socket_path) as idle, Connection(worker.socket_path) as waiting:
        eventually(lambda: idle.ask("GET", "/readyz").status == 200)
        lock("users")
        waiting.send(request("GET", "/api/v1/users"))
        time.sleep(0.2)
        os.kill(worker.pid, signal.SIGTERM)
        assert idle.closed()
        waiting.read_response()  # an answer or none
        assert waiting.closed()
        assert exit_status(worker) == 0


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_is_ignored_when_it_comes_soon_and_ends_at_once_when_it_comes_late(worker, kept, sig):
    """mod_fcgid sends SIGTERM twice, a second apart."""
    os.kill(worker.pid, sig)
    time.sleep(1)
    os.kill(worker.pid, sig)
    assert kept.ask().status == 200
    time.sleep(1.2)
    assert worker.alive()
    os.kill(worker.pid, sig)
    assert exit_status(worker, 2) == 0
    assert "worker ends at once" in worker.log()


def test_sigquit_ends_at_once(worker, kept):
    os.kill(worker.pid, signal.SIGQUIT)
    assert exit_status(worker, 2) == 0
    assert kept.closed()


def test_sigusr2_reopens_the_log(worker_with, tmp_path, eventually):
    log = tmp_path / "log"
    worker = worker_with({"HOB_LOG": str(log)})
    with Connection(worker.socket_path) as connection:
        assert connection.ask().status == 200
        log.rename(tmp_path / "log.1")
        os.kill(worker.pid, signal.SIGUSR2)
        eventually(log.exists)
        assert connection.ask(HTTP_X_REQUEST_ID="after").status == 200
    assert "after" in log.read_text() and "after" not in (tmp_path / "log.1").read_text()
    assert worker.alive()


def test_signals_do_not_cut_requests(worker, kept):
    """SIGUSR1 comes while a request is read in pieces."""
    whole = request()
    for at in range(0, len(whole), 20):
        kept.send(whole[at:at + 20])
        os.kill(worker.pid, signal.SIGUSR1)
        time.sleep(0.01)
    assert kept.read_response().status == 200


def test_a_worker_raises_its_own_limit_of_open_files(worker, kept):
    soft, hard = resource.prlimit(worker.pid, resource.RLIMIT_NOFILE)
    assert soft == hard


# ---- Stopping by itself ----


@pytest.mark.parametrize("settings, reason", [
    ({"HOB_WORKER_MAX_REQUESTS": "50"}, "HOB_WORKER_MAX_REQUESTS"),
    ({"HOB_WORKER_MAX_AGE": "500ms"}, "HOB_WORKER_MAX_AGE"),
    ({"HOB_WORKER_MAX_RSS": "1MiB"}, "HOB_WORKER_MAX_RSS"),
])
def test_a_worker_that_has_done_enough_drains(worker_with, settings, reason, eventually):
    worker = worker_with(settings)
    with Connection(worker.socket_path) as kept:
        eventually(lambda: kept.ask("GET", "/readyz") and "worker drains" in worker.log())
        assert f"worker drains: {reason}" in worker.log()
        assert kept.ask().status == 200
        assert worker.alive()
    assert exit_status(worker) == 0


def test_the_most_requests_are_counted(worker_with, eventually):
    worker = worker_with({"HOB_WORKER_MAX_REQUESTS": "100", "DATABASE_URL": None})
    with Connection(worker.socket_path) as kept:
        states = [kept.ask("GET", "/readyz").status for _ in range(102)]
    assert states[:90] == [200] * 90 and states[101] == 503, states
    assert exit_status(worker) == 0


def test_what_is_not_configured_is_no_reason_to_stop(worker, kept):
    assert {kept.ask().status for _ in range(1000)} == {200}
    time.sleep(1.2)
    assert "drains" not in worker.log() and worker.alive()


# ---- What others see of it ----


def test_the_scoreboard_knows_what_a_worker_does(worker_with, lock, tmp_path, eventually):
    board = {"HOB_SCOREBOARD": str(tmp_path / "board")}
    worker = worker_with(board | {"HOB_DB_LOCK_TIMEOUT": "0s"})

    def slot():
        (one,) = json.loads(run("status", "--json", environment=board).stdout)["slots"]
        return one

    with Connection(worker.socket_path) as kept, Connection(worker.socket_path) as waiting:
        eventually(lambda: kept.ask("GET", "/readyz").status == 200)
        before = slot()
        assert before["pid"] == worker.pid and before["state"] == "ready" and before["rss"] > 1 << 20
        assert [kept.ask().status for _ in range(5)] == [200] * 5
        held = lock("users")
        waiting.send(request("GET", "/api/v1/users"))
        eventually(lambda: slot()["in_flight"] == 1)
        after = slot()
        assert after["requests"] == before["requests"] + 5 and after["connections"] == 2
        held.release()
        assert waiting.read_response().status == 200
        os.kill(worker.pid, signal.SIGTERM)
        eventually(lambda: slot()["state"] == "draining")
    assert exit_status(worker) == 0
    assert json.loads(run("status", "--json", environment=board).stdout)["slots"] == []


# ---- Under a supervisor ----


@pytest.fixture
def supervised(worker_with, eventually):
    """supervised(settings): the worker, and the other end of its tie."""
    ends = []

    def start(settings=None):
        ours, theirs = socket.socketpair()
        ends.append(ours)
        os.set_inheritable(theirs.fileno(), True)
        with theirs:
            worker = worker_with({"LIBHOB_SUPERVISOR_FD": str(theirs.fileno())} | (settings or {}),
                                 pass_fds=[theirs.fileno()])
        ours.settimeout(10)
        return worker, ours

    yield start
    for end in ends:
        end.close()


def test_the_supervisor_hears_when_the_worker_is_ready(supervised):
    worker, tie = supervised()
    assert tie.recv(10) == b"R"
    with Connection(worker.socket_path) as connection:
        assert connection.ask("GET", "/readyz").status == 200


def test_a_database_that_does_not_come_keeps_nobody_waiting(supervised):
    began = time.monotonic()
    worker, tie = supervised({"DATABASE_URL": "postgresql:///x?host=/nowhere"})
    assert tie.recv(10) == b"R"
    assert 0.9 < time.monotonic() - began < 5
    with Connection(worker.socket_path) as connection:
        assert connection.ask("GET", "/readyz").status == 503 and connection.ask().status == 200


def test_a_worker_whose_supervisor_has_died_drains(supervised):
    worker, tie = supervised()
    assert tie.recv(10) == b"R"
    with Connection(worker.socket_path) as kept:
        assert kept.ask().status == 200
        tie.close()
        assert kept.ask().status == 200
        time.sleep(0.3)
        assert worker.alive() and kept.ask("GET", "/readyz").status == 503
    assert exit_status(worker) == 0
    assert "worker drains: the supervisor has died" in worker.log()


# ---- A start that is refused ----


@pytest.mark.parametrize("environment, named", [
    ({"HOB_DB_MAX_OPEN": "many"}, "HOB_DB_MAX_OPEN"),
    ({"HOB_NO_SUCH_THING": "1"}, "HOB_NO_SUCH_THING"),
    ({"HOB_LOG": "/nowhere/at/all.log"}, "HOB_LOG"),
])
def test_a_bad_configuration_stops_the_start_with_one_line(worker_with, environment, named):
    worker = worker_with(environment)
    assert exit_status(worker) == 1
    lines = worker.log().splitlines()
    assert len(lines) == 1 and named in lines[0], lines


def test_a_refused_start_is_in_the_log_too(worker_with, tmp_path):
    log = tmp_path / "log"
    worker = worker_with({"HOB_LOG": str(log), "HOB_MAX_BODY": "huge"})
    assert exit_status(worker) == 1
    assert "HOB_MAX_BODY" in worker.log()
    assert "HOB_MAX_BODY" in json.loads(log.read_text())["msg"]


# ---- CGI ----


def cgi(settings, method="GET", target="/ping", body=b"", **variables):
    environment = settings | {"GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": method, "REQUEST_URI": target,
                              "REMOTE_ADDR": "192.0.2.1", "SERVER_PROTOCOL": "HTTP/1.1"}
    if body:
        environment |= {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "application/json"}
    environment = {k: v for k, v in (environment | variables).items() if v is not None}
    done = run(environment=environment, input=body, stdin=None)
    assert done.returncode == 0, done
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    return int(re.search(rb"^Status: (\d+)", head, re.MULTILINE)[1]), head.decode(), body


def user_body(name="Ada"):
    return json.dumps({"name": name, "email": f"{time.monotonic_ns()}@example.com"}).encode()


def test_cgi(settings):
    status, head, body = cgi(settings)
    assert status == 200 and json.loads(body) == {"message": "pong"}
    assert f"Content-Length: {len(body)}" in head


def test_cgi_waits_for_the_database(settings):
    status, head, body = cgi(settings, "POST", "/api/v1/users", user_body())
    assert status == 201, body
    location = re.search(r"Location: (\S+)", head)[1]
    assert cgi(settings, "GET", location)[0] == 200
    assert cgi(settings, "PATCH", location, b'{"name":"Eve"}')[0] == 200
    assert json.loads(cgi(settings, "GET", location)[2])["name"] == "Eve"  # the cache was told before the process ended
    assert cgi(settings, "HEAD", location)[2] == b""


def test_cgi_bodies(settings):
    body = user_body()
    assert cgi(settings, "POST", "/api/v1/users", body, CONTENT_LENGTH=None)[0] == 201
    assert cgi(settings, "POST", "/api/v1/users", body + b" ", CONTENT_LENGTH=str(len(body)))[0] == 409
    assert cgi(settings, "POST", "/api/v1/users", body, CONTENT_LENGTH=str(len(body) + 1))[0] == 400
    assert cgi(settings, "POST", "/api/v1/users", body, CONTENT_LENGTH="x")[0] == 400
    assert cgi(settings, "POST", "/api/v1/users", b" " * 70000, HOB_MAX_BODY="64KiB")[0] == 413


def test_cgi_does_not_read_beyond_the_body(settings):
    """The web server may keep stdin open."""
    reader, writer = os.pipe()
    body = user_body()
    os.write(writer, body)
    environment = settings | {"REQUEST_METHOD": "POST", "REQUEST_URI": "/api/v1/users",
                              "CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": "application/json"}
    done = run(environment=environment, stdin=reader)
    assert b"\r\nStatus: 201" in done.stdout, done
    environment |= {"CONTENT_LENGTH": str(len(body) + 1), "HOB_READ_TIMEOUT": "200ms"}
    os.write(writer, user_body())
    assert run(environment=environment, stdin=reader).stdout.startswith(b"Status: 408")
    os.close(reader)
    os.close(writer)


# ---- Commands ----


def test_help_and_what_is_no_command():
    done = run("--help")
    assert done.returncode == 0 and b"migrate" in done.stdout and b"HOB_MAX_BODY" in done.stdout
    for arguments in ([], ["--no-such"], ["routes", "extra"], ["migrate", "a", "b"], [""]):
        done = run(*arguments)
        assert done.returncode == 2 and not done.stdout and b"migrate" in done.stderr, arguments


def test_version():
    done = run("--version")
    assert done.returncode == 0 and re.fullmatch(rb"users-api, hob \d+\.\d+\.\d+\n", done.stdout)


def test_routes():
    lines = run("routes").stdout.decode().splitlines()
    assert "GET /ping" in lines and "GET /api/v1/users/{id:int}" in lines


def test_print_config_hides_secrets():
    done = run("--print-config", environment={"DATABASE_URL": "postgresql://u:hush@h/d", "HOB_MAX_BODY": "2MiB"})
    assert done.returncode == 0 and b"HOB_MAX_BODY=2MiB" in done.stdout and b"hush" not in done.stdout
    assert run("--print-config", environment={"HOB_MAX_BODY": "x"}).returncode == 1


def test_config_table():
    assert b"`HOB_MAX_BODY`" in run("--config-table").stdout


def test_check(settings):
    done = run("--check", environment=settings)
    assert done.returncode == 0 and done.stdout.decode().splitlines() == [
        "routes: good", "configuration: good", "database: good"], done
    done = run("--check", environment=settings | {"DATABASE_URL": "postgresql:///x?host=/nowhere"})
    assert done.returncode == 1 and b"/nowhere" in done.stdout, done
    done = run("--check", environment={"HOB_MAX_BODY": "x"})
    assert done.returncode == 1 and b"configuration: " in done.stdout and b"HOB_MAX_BODY" in done.stdout, done
    assert run("--check").stdout.endswith(b"database: none is configured\n")


@pytest.mark.parametrize("workers, connections, more, good", [
    (24, 4, {}, True), (25, 4, {}, False), (1, 98, {}, True), (1, 99, {}, False), (100, 4, {"HOB_DB_PREPARE": "off"}, True)
])
def test_check_compares_connections(settings, workers, connections, more, good):
    """Twice: while workers are replaced there are old and new ones. The server takes 200, 3 of them for superusers."""
    numbers = {"HOB_WORKERS": str(workers), "HOB_DB_MAX_OPEN": str(connections)}
    done = run("--check", environment=settings | numbers | more, text=True)
    assert (done.returncode == 0) == good, done
    assert good or (f"open {2 * workers * connections} " in done.stdout and "leaves 197" in done.stdout), done


# ---- Migrations ----


class Schema:
    """A directory of SQL files, applied to a database schema of its own."""

    def __init__(self, path, database, name):
        self.path, self.database = path, database
        database.execute(f"CREATE SCHEMA {name}")
        self.environment = {"DATABASE_URL": f"{database.url}&options=-csearch_path%3D{name}"}
        self.name = name

    def write(self, **files):
        for name, sql in files.items():
            (self.path / f"{name}.sql").write_text(sql)

    def migrate(self):
        return run("migrate", self.path, environment=self.environment, text=True)

    def applied(self):
        rows = self.database.execute(f"SELECT name FROM {self.name}.hob_migrations ORDER BY applied_at, name")
        return [name for name, in rows]

    def tables(self):
        found = self.database.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", self.name)
        return [name for name, in found if name != "hob_migrations"]


@pytest.fixture
def schema(tmp_path, database):
    name = f"migrated_{time.monotonic_ns()}"
    yield Schema(tmp_path, database, name)
    database.execute(f"DROP SCHEMA {name} CASCADE")


def test_migrations_are_applied_in_order_once(schema):
    schema.write(**{"010_b": "CREATE TABLE b (a_id int REFERENCES a); INSERT INTO b VALUES (1);",
                    "002_a": "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1);"})
    (schema.path / "notes.txt").write_text("no SQL")
    done = schema.migrate()
    assert done.returncode == 0 and done.stdout.splitlines() == ["applied 002_a.sql", "applied 010_b.sql"], done
    assert schema.applied() == ["002_a.sql", "010_b.sql"]
    schema.write(**{"005_c": "CREATE TABLE c ()"})
    done = schema.migrate()
    assert done.returncode == 0 and done.stdout == "applied 005_c.sql\n" and not done.stderr, done
    done = schema.migrate()
    assert done.returncode == 0 and not done.stdout and not done.stderr, done


def test_a_failed_migration_leaves_nothing_and_stops(schema):
    schema.write(**{"1": "CREATE TABLE a ()", "2": "CREATE TABLE b (); SELECT no_such_column",
                    "3": "CREATE TABLE c ()"})
    done = schema.migrate()
    assert done.returncode == 1 and "no_such_column" in done.stderr and "2.sql" in done.stderr, done
    assert schema.tables() == ["a"] and schema.applied() == ["1.sql"]
    schema.write(**{"2": "CREATE TABLE b ()"})
    assert schema.migrate().returncode == 0
    assert schema.tables() == ["a", "b", "c"]


def test_a_changed_migration_is_an_error(schema):
    schema.write(**{"1": "CREATE TABLE a ()"})
    assert schema.migrate().returncode == 0
    schema.write(**{"1": "CREATE TABLE a (id int)", "2": "CREATE TABLE b ()"})
    done = schema.migrate()
    assert done.returncode == 1 and "1.sql: has changed" in done.stderr, done
    assert schema.tables() == ["a"]


def test_runs_at_the_same_time_do_not_collide(schema):
    schema.write(**{str(i): f"CREATE TABLE t{i} (); SELECT pg_sleep(0.05)" for i in range(5)})
    runs = [subprocess.Popen([BINARY, "migrate", schema.path], env=stack.base_environment() | schema.environment,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(4)]
    said = [run.communicate(timeout=60)[0] for run in runs]
    assert [run.returncode for run in runs] == [0] * 4, said
    assert sorted("".join(said).splitlines()) == [f"applied {i}.sql" for i in range(5)]


def test_a_migration_may_not_end_its_transaction(schema):
    schema.write(**{"1": "CREATE TABLE a (); COMMIT; CREATE TABLE b ()"})
    done = schema.migrate()
    assert done.returncode == 1 and "transaction" in done.stderr, done


def test_a_migration_may_change_the_session(schema):
    """What pg_dump writes at the head of its files."""
    schema.write(**{"1": "SELECT set_config('search_path', '', false); SET standard_conforming_strings = off",
                    "2": "CREATE TABLE a ()"})
    assert schema.migrate().returncode == 0
    assert schema.tables() == ["a"]


@pytest.mark.parametrize("content", [b"SELECT 1;\0DROP TABLE a", b"COPY a FROM STDIN"])
def test_migrations_that_cannot_be_run(schema, content):
    schema.write(**{"1": "CREATE TABLE a ()"})
    (schema.path / "2.sql").write_bytes(content)
    done = schema.migrate()
    assert done.returncode == 1 and "2.sql" in done.stderr, done
    assert schema.applied() == ["1.sql"]


def test_a_migration_without_files_or_database(schema, tmp_path):
    done = run("migrate", tmp_path / "none", environment=schema.environment)
    assert done.returncode == 1 and b"none" in done.stderr
    done = schema.migrate()
    assert done.returncode == 1 and "has no *.sql" in done.stderr
    schema.write(**{"1": ""})
    done = run("migrate", schema.path, environment={"DATABASE_URL": "postgresql:///x?host=/nowhere"})
    assert done.returncode == 1 and b"/nowhere" in done.stderr
