"""A worker that crashes or hangs: its clients hear of it, nobody else is harmed, and the log says where it was."""
import concurrent.futures
import json
import os
import platform
import signal
import time

import pytest
from fcgi_client import PARAMS, STDIN, Connection, begin, environment, pairs, record, request, stream

SANITIZED = "san" in os.environ.get("HOB_BUILD", "")
crashes = pytest.mark.skipif(SANITIZED, reason="the sanitizer has handlers of its own for these signals")
KINDS = [("null_write", signal.SIGSEGV), ("stack_overflow", signal.SIGSEGV), ("double_free", signal.SIGABRT),
         ("call_abort", signal.SIGABRT), ("division", signal.SIGFPE), ("null_call", signal.SIGSEGV),
         ("branch", signal.SIGSEGV), ("thread", signal.SIGSEGV)]
NO_DIVISION_FAULT = platform.machine() != "x86_64"


def dead(app):
    """Wait statuses of the workers that have ended."""
    app.workers.alive()
    return dict(app.workers.statuses)


def log_lines(text, message):
    parsed = (json.loads(line) for line in text.splitlines() if line.startswith("{"))
    return [line for line in parsed if line["msg"].startswith(message)]


def the_crash(text):
    (line,) = log_lines(text, "the worker crashed")
    return line


def keep_many(client, count=32):
    """So many requests at once that nginx keeps several connections to each worker."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        assert {a.status for a in pool.map(client.get, ["/wait/20"] * count * 2)} == {200}


# ---- Crashes ----


@crashes
@pytest.mark.parametrize("kind, sig", KINDS)
def test_one_crash_is_one_500_and_one_dead_worker(crasher_app, problem, eventually, kind, sig):
    if kind == "division" and NO_DIVISION_FAULT:
        pytest.skip("this machine divides by zero without a fault")
    app = crasher_app(count=5)
    keep_many(app.client)
    answer = app.client.get(f"/crash/{kind}")
    document = problem(answer, 500, "Internal Server Error")
    assert int(answer.headers["Content-Length"]) == len(answer.body)
    eventually(lambda: dead(app))
    time.sleep(0.2)  # long enough for nginx to have tried the others
    statuses = dead(app)
    assert len(statuses) == 1 and os.WTERMSIG(next(iter(statuses.values()))) == sig, statuses
    where = {"branch": "crash_in_branch", "thread": "crash_in_thread"}.get(kind, kind)
    lines = log_lines(app.workers.log(), "the worker crashed")
    assert where in lines[0]["backtrace"] and lines[0]["signal"] == sig.name, lines
    assert (lines[0].get("cause") == "stack overflow") == (kind == "stack_overflow"), lines
    if kind != "thread":
        assert lines[0]["request_id"] == document["instance"] and lines[0]["route"] == f"/crash/{kind}", lines
        assert lines[0]["handler"] == kind and lines[0]["pid"] in statuses, lines
    (told,) = [line for line in log_lines(app.workers.log(), "request") if line["request_id"] == document["instance"]]
    assert told["status"] == 500 and told["route"] == f"/crash/{kind}"
    assert {app.client.get("/ping").status for _ in range(50)} == {200}
    assert len(dead(app)) == 1


@crashes
def test_a_post_that_crashes_is_a_500_too(crasher_app, problem):
    app = crasher_app(count=2)
    keep_many(app.client)
    problem(app.client.post("/crash/null_write", {}), 500)
    assert app.client.post("/ping", {}).status == 200


@crashes
def test_the_clients_own_id_and_head(crasher_app):
    app = crasher_app(count=2)
    answer = app.client.get("/crash/call_abort", headers={"X-Request-ID": "my.own_id-1"})
    assert answer.status == 500 and answer.headers["X-Request-ID"] == answer.json["instance"] == "my.own_id-1"
    head = app.client.request("HEAD", "/crash/null_write")
    assert head.status == 500 and head.body == b"" and int(head.headers["Content-Length"]) > 100


@crashes
def test_who_was_in_flight_beside_it_gets_a_500_with_an_id_of_his_own(crasher_app, problem):
    app = crasher_app()
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        waiting = [pool.submit(app.client.get, "/wait/10000") for _ in range(40)]
        time.sleep(0.5)
        guilty = app.client.get("/crash/double_free")
        answers = [one.result() for one in waiting]
    ids = {problem(answer, 500)["instance"] for answer in [*answers, guilty]}
    assert len(ids) == 41
    line = the_crash(app.workers.log())
    assert line["in_flight"] == line["answered"] == 41
    assert {told["request_id"] for told in log_lines(app.workers.log(), "request") if told["status"] == 500} == ids


@crashes
def test_thousands_in_flight_are_all_answered(crasher):
    count = 3000
    worker = crasher(HOB_MAX_IN_FLIGHT="4000", HOB_REQUEST_TIMEOUT="60s")
    connections = []
    for _ in range(count):
        connections.append(Connection(worker.socket_path))
        connections[-1].send(request(target="/wait/30000"))
    with Connection(worker.socket_path) as poisoned:
        time.sleep(0.5)
        assert poisoned.ask("GET", "/crash/null_write").status == 500
    for connection in connections:
        answer = connection.read_response()
        assert answer.complete and answer.status == 500 and int(answer.headers["content-length"]) == len(answer.body)
        assert connection.closed()
        connection.close()
    assert worker.process.wait(20) == -signal.SIGSEGV
    assert the_crash(worker.log())["answered"] == count + 1


@crashes
def test_an_answer_that_has_begun_is_not_mixed_with_another(crasher):
    worker = crasher()
    with Connection(worker.socket_path) as slow, Connection(worker.socket_path) as poisoned:
        slow.send(request(target="/large/8000000"))
        time.sleep(0.3)
        assert poisoned.ask("GET", "/crash/null_write").status == 500
        received = b""
        while more := slow.socket.recv(65536):
            received += more
    assert b"Status: 200" in received and b"Status: 500" not in received
    assert 0 < len(received) < 8000000


@crashes
def test_a_request_counts_from_its_parameters_on(crasher):
    worker = crasher()
    params = pairs(environment("POST", "/ping", b"x" * 100))
    with (Connection(worker.socket_path) as in_params, Connection(worker.socket_path) as in_body,
          Connection(worker.socket_path) as poisoned):
        in_params.send(begin() + record(PARAMS, params))
        in_body.send(begin(7) + stream(PARAMS, params, 7) + record(STDIN, b"xx", 7))
        time.sleep(0.2)
        assert poisoned.ask("GET", "/crash/null_write").status == 500
        answer = in_body.read_response(7)
        assert answer.complete and answer.status == 500 and len(answer.headers["x-request-id"]) == 36
        assert in_params.closed()


@crashes
def test_a_crash_from_outside(crasher, eventually):
    worker = crasher()
    with Connection(worker.socket_path) as connection:
        connection.send(request(target="/wait/10000"))
        eventually(lambda: "worker serves" in worker.log())
        time.sleep(0.2)
        os.kill(worker.pid, signal.SIGSEGV)
        assert connection.read_response().status == 500
    assert worker.process.wait(20) == -signal.SIGSEGV
    line = the_crash(worker.log())
    assert line["sent_by_pid"] == os.getpid() and "hob__loop_turn" in line["backtrace"]


@crashes
def test_others_hardly_notice(crasher_app, eventually):
    """Requests that change nothing are sent to the next worker by the web server when their connection breaks."""
    app = crasher_app(count=4)
    keep_many(app.client)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        others = [pool.submit(lambda: [app.client.get("/ping").status for _ in range(100)]) for _ in range(8)]
        for _ in range(3):
            assert app.client.get("/crash/null_write").status == 500
            time.sleep(0.1)
        statuses = [status for one in others for status in one.result()]
    assert set(statuses) <= {200, 500} and statuses.count(500) <= 3 * 8, statuses
    assert len(dead(app)) == 3


# ---- Hangs ----


def test_a_hang_is_a_504_for_all_in_flight(crasher, eventually):
    worker = crasher(HOB_WATCHDOG="500ms")
    with Connection(worker.socket_path) as hanging, Connection(worker.socket_path) as waiting:
        waiting.send(request(target="/wait/20000"))
        time.sleep(0.2)
        assert hanging.ask("GET", "/hang").status == 504
        assert waiting.read_response().status == 504
    assert worker.process.wait(20) == 70
    (line,) = log_lines(worker.log(), "the worker hung")
    assert line["in_flight"] == line["answered"] == 2


def test_a_hang_is_the_end_of_one_worker(crasher_app, problem, eventually):
    app = crasher_app(count=2, HOB_WATCHDOG="500ms")
    keep_many(app.client)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(app.client.get, "/wait/3000") for _ in range(20)]
        time.sleep(0.3)
        began = time.monotonic()
        guilty = app.client.get("/hang")
        took = time.monotonic() - began
        statuses = [one.result().status for one in waiting]
    document = problem(guilty, 504, "Gateway Timeout")
    assert 0.4 < took < 5
    assert set(statuses) <= {200, 504}, statuses  # of the one that lives, and of the one that does not
    eventually(lambda: dead(app))
    assert [os.WEXITSTATUS(status) for status in dead(app).values()] == [70]
    (line,) = log_lines(app.workers.log(), "the worker hung")
    assert line["request_id"] == document["instance"] and line["route"] == "/hang" and line["handler"] == "hang"
    assert line["backtrace"].startswith("hang"), line
    assert line["in_flight"] == statuses.count(504) + 1
    assert app.client.get("/ping").status == 200


@pytest.mark.parametrize("settings, what", [
    ({"HOB_WATCHDOG": "300ms"}, "/wait/1000"),
    ({"HOB_WATCHDOG": "0s"}, "/spin/1500"),
    ({"HOB_WATCHDOG": "2s"}, "/spin/500"),
])
def test_what_is_no_hang(crasher, settings, what):
    worker = crasher(**settings)
    with Connection(worker.socket_path) as connection:
        assert connection.ask("GET", what).status == 200
        time.sleep(0.5)
        assert connection.ask().status == 200


def test_many_tasks_in_one_turn_are_no_hang(crasher):
    worker = crasher(HOB_WATCHDOG="400ms", HOB_MAX_QUEUE_TIME="0s")
    connections = [Connection(worker.socket_path) for _ in range(30)]
    assert {connection.ask().status for connection in connections} == {200}
    os.kill(worker.pid, signal.SIGSTOP)  # so that they come all at once
    for connection in connections:
        connection.send(request(target="/spin/40"))
    time.sleep(1)  # nor is this one
    os.kill(worker.pid, signal.SIGCONT)
    assert [connection.read_response().status for connection in connections] == [200] * 30
    assert worker.alive()


def test_a_request_past_its_deadline_harms_nobody(crasher_app, problem):
    app = crasher_app(HOB_REQUEST_TIMEOUT="400ms")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        late = pool.submit(app.client.get, "/wait/5000")
        for _ in range(10):
            assert app.client.get("/wait/50").status == 200
        problem(late.result(), 504)
    assert dead(app) == {}
