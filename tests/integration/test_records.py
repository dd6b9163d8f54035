"""The FastCGI front under a web server that sends what it should not, or in pieces, or slowly, or goes away."""
import json
import os
import resource
import time

import pytest
from fcgi_client import (ABORT, CANT_MPX_CONN, END, FILTER, GET_VALUES, GET_VALUES_RESULT, PARAMS, STDIN, UNKNOWN_TYPE,
                         Connection, begin, environment, pairs, parse_pairs, record, request, stream)


@pytest.fixture
def connect(worker):
    """connect(): another connection to `worker`, which must still live at the end."""
    opened = []

    def connect(**options):
        opened.append(Connection(worker.socket_path, **options))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()
    assert worker.alive()


@pytest.fixture
def connection(connect):
    return connect()


def new_user(connection):
    body = json.dumps({"name": "Ada", "email": f"{time.monotonic_ns()}@example.com"}).encode()
    answer = connection.ask("POST", "/api/v1/users", body)
    assert answer.status == 201, answer
    return json.loads(answer.body)["id"]


def insert_100_users(database):
    database.execute("INSERT INTO users (name, email)"
                     " SELECT repeat('x', 100), i || '@example.com' FROM generate_series(1, 100) i")


def assert_pong(answer):
    assert answer.complete and answer.stdout_ended and answer.app_status == 0 and answer.protocol_status == 0, answer
    assert answer.status == 200 and json.loads(answer.body) == {"message": "pong"}, answer
    assert int(answer.headers["content-length"]) == len(answer.body), answer


# ---- Good requests ----


def test_a_connection_is_kept_for_many_requests(connection):
    for request_id in (1, 1, 2, 65535, 1):
        assert_pong(connection.ask(request_id=request_id))


def test_a_connection_that_need_not_be_kept_is_closed_at_once(connection):
    started = time.monotonic()
    assert_pong(connection.ask(keep=False))
    assert connection.closed()
    assert time.monotonic() - started < 1  # libfcgi would wait up to 2 s for us to close first


def test_request_byte_by_byte(connection):
    body = json.dumps({"name": "Ada", "email": f"{time.monotonic_ns()}@example.com"}).encode()
    connection.send(request("POST", "/api/v1/users", body, padding=5), piece=1)
    assert connection.read_response().status == 201
    assert connection.kept()


def test_request_in_two_pieces_anywhere(connection):
    whole = request(padding=3, body=b"x", CONTENT_LENGTH="1")
    for at in range(1, len(whole), 3):
        connection.send(whole[:at])
        time.sleep(0.001)
        connection.send(whole[at:])
        assert_pong(connection.read_response())


@pytest.mark.parametrize("piece", [1, 7, 127, 8176, 8192])
def test_records_of_any_size(connection, piece):
    body = json.dumps({"name": "A" * 100, "email": f"{time.monotonic_ns()}@example.com"}).encode()
    answer = connection.ask("POST", "/api/v1/users", body, piece=piece, padding=255, HTTP_X_LONG="v" * 20000)
    assert answer.status == 201, answer
    assert connection.kept()


@pytest.mark.parametrize("size", [8192 * n + d for n in (1, 2) for d in (-80, -16, -8, -1, 0, 1, 8)])
def test_request_that_ends_where_a_read_ends(connection, size):
    """libfcgi reads 8192 bytes at a time."""
    plain = len(request(HTTP_X="", piece=60000))
    value = "v" * (size - plain)
    whole = request(HTTP_X=value, piece=60000)
    whole = request(HTTP_X=value[:len(value) - (len(whole) - size)], piece=60000)
    assert len(whole) == size
    connection.send(whole)
    assert_pong(connection.read_response())
    assert connection.kept()


def test_response_of_many_records(connection, database, no_users):
    insert_100_users(database)
    answer = connection.ask("GET", "/api/v1/users?limit=100")
    assert answer.status == 200 and len(answer.body) == int(answer.headers["content-length"]) > 8192
    assert len(json.loads(answer.body)["users"]) == 100
    assert connection.kept()


def test_head_has_no_body(connection):
    answer = connection.ask("HEAD", "/ping")
    assert answer.status == 200 and answer.body == b"" and int(answer.headers["content-length"]) > 0, answer


def test_many_connections_at_once(connect):
    connections = [connect() for _ in range(200)]
    for _ in range(2):
        for connection in connections:
            connection.send(request())
        for connection in connections:
            assert_pong(connection.read_response())


# ---- Requests that are not whole ----


@pytest.mark.parametrize("end", ["between pairs", "within a pair", "within a record", "within a header"])
@pytest.mark.parametrize("how", ["close", "half_close"])
def test_cut_parameters_are_no_request(connect, end, how):
    """libfcgi hands them on as a whole request: a DELETE without its restrictions, for example."""
    user = new_user(connect())
    parameters = pairs(environment("DELETE", f"/api/v1/users/{user}"))
    sent = {"between pairs": begin() + record(PARAMS, parameters),
            "within a pair": begin() + record(PARAMS, parameters + b"\5\5HT"),
            "within a record": begin() + record(PARAMS, parameters)[:-2],
            "within a header": begin() + record(PARAMS, parameters) + record(PARAMS)[:5]}[end]
    connection = connect()
    connection.send(sent)
    getattr(connection, how)()
    if how == "half_close":
        assert connection.closed()
    assert connect().ask("GET", f"/api/v1/users/{user}").status == 200


def test_cut_body_is_no_request(connect):
    connection = connect()
    user = new_user(connection)
    body = json.dumps({"name": "Eve"}).encode()
    whole = request("PATCH", f"/api/v1/users/{user}", body)
    connection.send(whole[:-8])  # all but the end of STDIN
    connection.half_close()
    assert connection.closed()
    answer = connect().ask("GET", f"/api/v1/users/{user}")
    assert json.loads(answer.body)["name"] == "Ada"


def test_abort_before_the_end_of_the_parameters(connect):
    connection = connect()
    user = new_user(connection)
    connection.send(begin() + record(PARAMS, pairs(environment("DELETE", f"/api/v1/users/{user}"))) + record(ABORT))
    answer = connection.read_response()
    assert answer.complete and answer.stdout == b"", answer
    assert connection.ask("GET", f"/api/v1/users/{user}").status == 200


def test_abort_during_the_body(connect):
    connection = connect()
    user = new_user(connection)
    body = json.dumps({"name": "Eve"}).encode()
    connection.send(request("PATCH", f"/api/v1/users/{user}", body)[:-8] + record(ABORT))
    answer = connection.read_response()
    assert answer.complete and answer.stdout == b"", answer
    assert json.loads(connection.ask("GET", f"/api/v1/users/{user}").body)["name"] == "Ada"


def test_late_abort_is_ignored(connection):
    assert_pong(connection.ask())
    connection.send(record(ABORT))
    assert connection.kept()


def test_an_abort_while_the_request_is_worked_on_cancels_it(connection, lock):
    held = lock("users")
    connection.send(request("GET", "/api/v1/users", request_id=7))
    time.sleep(0.2)
    began = time.monotonic()
    connection.send(record(ABORT, request_id=7))
    assert connection.read_response(7).complete
    assert time.monotonic() - began < 1, "not at the end of HOB_DB_LOCK_TIMEOUT"
    held.release()
    assert connection.kept()


def test_without_a_method_it_is_no_request(connection):
    connection.send(request(REQUEST_METHOD=None))
    assert connection.closed()


@pytest.mark.parametrize("role", [0, 2, FILTER, 9])
def test_other_roles_are_refused(connection, role):
    connection.send(begin(role=role) + request()[16:])
    assert connection.closed()


# ---- Bodies ----


def user_body():
    return json.dumps({"name": "Ada", "email": f"{time.monotonic_ns()}@example.com"}).encode()


@pytest.mark.parametrize("declared", [None, "", "-1"])
def test_body_of_undeclared_length_goes_to_its_end(connection, declared):
    assert connection.ask("POST", "/api/v1/users", user_body(), CONTENT_LENGTH=declared).status == 201
    assert connection.kept()


@pytest.mark.parametrize("off", [-1, 1, -50, 5000])
def test_body_of_another_length_than_declared(connection, off):
    body = user_body()
    answer = connection.ask("POST", "/api/v1/users", body, CONTENT_LENGTH=str(len(body) + off))
    assert answer.status == 400, answer
    assert connection.kept()


@pytest.mark.parametrize("declared", ["x", "1x", "+5", " 5", "5,5", "-2", "99999999999999999999"])
def test_length_that_is_no_number(connection, declared):
    answer = connection.ask("POST", "/api/v1/users", user_body(), CONTENT_LENGTH=declared)
    assert answer.status in (400, 413) if declared.startswith("999") else answer.status == 400, answer
    assert connection.kept()


def test_body_of_a_handler_that_does_not_read_it_is_not_taken_for_records(connect):
    """A body that is FastCGI records, at every alignment: without draining, libfcgi would run them as requests."""
    connection = connect()
    user = new_user(connection)
    evil = request("DELETE", f"/api/v1/users/{user}", REMOTE_USER="root")
    for offset in range(0, 9):
        body = b" " * offset + evil * (20000 // len(evil))
        for method, target, status in (("POST", "/ping", 405), ("GET", "/ping", 200), ("POST", "/nowhere", 404)):
            assert connection.ask(method, target, body, padding=-len(body) % 8).status == status
    assert connection.ask("GET", f"/api/v1/users/{user}").status == 200


def test_too_large_a_body_is_refused_and_the_connection_kept(worker_with):
    with Connection(worker_with({"HOB_MAX_BODY": "1KiB"}).socket_path) as connection:
        for declared in ("100000", None):
            answer = connection.ask("POST", "/api/v1/users", b" " * 100000, CONTENT_LENGTH=declared)
            assert answer.status == 413, answer
        assert connection.kept()


def test_a_flood_is_answered_and_closed(worker_with):
    worker = worker_with({"HOB_MAX_BODY": "1KiB"})
    with Connection(worker.socket_path) as connection:
        connection.send(begin() + stream(PARAMS, pairs(environment("POST", "/api/v1/users", CONTENT_LENGTH="-1"))))
        connection.send(record(STDIN, b" " * 65528) * 24)  # and no end
        assert connection.read_response().status == 413
        assert connection.closed()
    assert worker.alive()


# ---- Time ----


def drip_until_closed(connection, data, seconds=5):
    """Sends a byte every few milliseconds, for as long as it is taken."""
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            connection.send(data)
            time.sleep(0.02)
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def test_a_request_must_arrive_in_time(worker_with):
    """The time is absolute: dripping does not stretch it."""
    worker = worker_with({"HOB_READ_TIMEOUT": "300ms"})
    with Connection(worker.socket_path) as stalled, Connection(worker.socket_path) as dripping:
        stalled.send(begin() + record(PARAMS, pairs(environment())))
        assert stalled.closed()
        dripping.send(begin() + stream(PARAMS, pairs(environment())))
        assert drip_until_closed(dripping, record(STDIN, b"x"))
        answer = dripping.read_response()
        assert answer.complete and answer.status == 408, answer
    assert worker.alive()


def test_a_stalled_body_is_answered_408(worker_with):
    with Connection(worker_with({"HOB_READ_TIMEOUT": "200ms"}).socket_path) as connection:
        connection.send(request("POST", "/api/v1/users", user_body())[:-12])
        answer = connection.read_response()
        assert answer.complete and answer.status == 408, answer
        assert connection.closed()


@pytest.mark.parametrize("idle", [b"", record(GET_VALUES, pairs({"FCGI_MAX_REQS": ""}), 0)], ids=["new", "asked"])
def test_an_idle_connection_has_time(worker_with, idle):
    with Connection(worker_with({"HOB_READ_TIMEOUT": "100ms"}).socket_path) as connection:
        connection.send(idle)
        if idle:
            assert connection.read_record()[0] == GET_VALUES_RESULT
        time.sleep(0.4)
        assert connection.kept()
        time.sleep(0.4)
        assert connection.kept()


def test_slow_peers_do_not_stop_the_others(connect):
    slow = [connect() for _ in range(50)]
    for connection in slow:
        connection.send(request("POST", "/api/v1/users", user_body())[:-40])
    started = time.monotonic()
    assert_pong(connect().ask())
    assert time.monotonic() - started < 2


def test_a_peer_that_does_not_read_is_given_up(worker_with, database, no_users, eventually):
    insert_100_users(database)
    worker = worker_with({"HOB_WRITE_TIMEOUT": "300ms"})
    with Connection(worker.socket_path) as deaf, Connection(worker.socket_path) as other:
        eventually(lambda: other.ask("GET", "/readyz").status == 200)
        for _ in range(40):  # what nobody reads fills the socket's buffer
            try:
                deaf.send(request("GET", "/api/v1/users?limit=100"))
            except (BrokenPipeError, ConnectionResetError):
                break
            assert_pong(other.ask())
            time.sleep(0.02)
        eventually(lambda: "could not be handed to the web server" in worker.log())
        assert_pong(other.ask())
    assert worker.alive()


# ---- Peers that go ----


def test_a_peer_that_goes_before_its_answer(connect):
    for target in ("/ping", "/api/v1/users", "/nowhere"):
        for _ in range(20):
            connection = connect()
            connection.send(request(target=target))
            connection.close()
    assert_pong(connect().ask())


def test_a_peer_that_goes_cancels_its_request(worker_with, lock, eventually):
    worker = worker_with({"HOB_DB_LOCK_TIMEOUT": "0s", "HOB_DB_STATEMENT_TIMEOUT": "0s"})
    with Connection(worker.socket_path) as other:
        eventually(lambda: other.ask("GET", "/readyz").status == 200)
    lock("users")
    connection = Connection(worker.socket_path)
    connection.send(request("GET", "/api/v1/users"))
    time.sleep(0.2)
    assert "/api/v1/users" not in worker.log()
    connection.close()
    eventually(lambda: "/api/v1/users" in worker.log(), 5)  # its line in the access log: long before its deadline


# ---- Management records ----


def test_get_values(connection):
    names = ["FCGI_MAX_CONNS", "FCGI_MAX_REQS", "FCGI_MPXS_CONNS", "FCGI_OTHER"]
    connection.send(record(GET_VALUES, pairs(dict.fromkeys(names, "")), 0, padding=4))
    kind, request_id, content = connection.read_record()
    assert (kind, request_id) == (GET_VALUES_RESULT, 0)
    assert parse_pairs(content) == {"FCGI_MAX_CONNS": "1024", "FCGI_MAX_REQS": "1024", "FCGI_MPXS_CONNS": "0"}
    assert connection.kept()


def test_get_values_together_with_a_request(connection):
    connection.send(record(GET_VALUES, pairs({"FCGI_MPXS_CONNS": ""}), 0) + request())
    assert connection.read_record()[0] == GET_VALUES_RESULT
    assert_pong(connection.read_response())


def test_get_values_with_many_names(connection):
    """Overflows libfcgi's stack."""
    connection.send(record(GET_VALUES, pairs({"FCGI_MAX_CONNS": ""}) * 60, 0))
    assert connection.read_record()[0] == GET_VALUES_RESULT
    assert connection.kept()


def test_unknown_management_record(connection):
    connection.send(record(77, b"what?", 0, padding=3))
    kind, request_id, content = connection.read_record()
    assert (kind, request_id, content[0]) == (UNKNOWN_TYPE, 0, 77)
    assert connection.kept()


# ---- Several requests on one connection at once ----


def test_multiplexing_is_refused(connection):
    first, second = request(request_id=1), request("DELETE", "/api/v1/users/1", request_id=2)
    connection.send(first[:16])
    connection.send(second)
    kind, request_id, content = connection.read_record()
    assert (kind, request_id, content[4]) == (END, 2, CANT_MPX_CONN)
    connection.send(first[16:])
    assert_pong(connection.read_response())
    assert connection.kept()


def test_empty_records_of_other_requests_swallow_nothing(connection):
    connection.send(begin() + record(STDIN, b"", 2) + stream(PARAMS, pairs(environment())))
    connection.send(record(STDIN, b"", 3) + record(STDIN))
    assert_pong(connection.read_response())
    assert connection.kept()


def test_pipelined_requests_close_the_connection(connect):
    """libfcgi throws away what it read beyond the first."""
    connection = connect()
    user = new_user(connection)
    connection.send(request() + request("DELETE", f"/api/v1/users/{user}"))
    assert_pong(connection.read_response())
    assert connection.closed()
    assert connect().ask("GET", f"/api/v1/users/{user}").status == 200


# ---- What is no request at all ----


@pytest.mark.parametrize("garbage", [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\0" * 8,
    record(STDIN, b"x", version=2),
    begin() + begin(),
    begin() + record(STDIN),
    begin() + record(PARAMS, b"\xff\xff\xff\xfe\xff\xff\xff\xfe"),
    begin() + record(PARAMS, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    begin() + record(PARAMS, b"\x04\x80\x10\0\0NAME"),
    begin() + record(PARAMS, pairs({"A": "b"}) * 2000),
    begin() + record(PARAMS, pairs({"A": "v" * 60000})) * 5,
    begin() + record(PARAMS, b"\1\3Aa\0b"),
    record(GET_VALUES, b"\0" * 60000, 0),
    record(77, b"", 0) * 1000,
], ids=lambda data: f"{len(data)}-{data[:12].hex()}")
def test_garbage_closes_the_connection(connect, garbage):
    connection = connect()
    try:
        connection.send(garbage)
    except (BrokenPipeError, ConnectionResetError):
        pass
    while True:
        got = connection.read_record()
        if got is None:
            break
        assert got[0] == UNKNOWN_TYPE, got
    assert_pong(connect().ask())


# ---- File descriptors ----


def test_running_out_of_file_descriptors_only_delays(worker, eventually):
    eventually(lambda: Connection(worker.socket_path).ask("GET", "/readyz").status == 200)
    room = len(os.listdir(f"/proc/{worker.pid}/fd")) + 10
    resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (room, room))
    connections = [Connection(worker.socket_path) for _ in range(40)]
    for connection in connections:
        connection.send(request(keep=False))
    for connection in connections:
        assert_pong(connection.read_response())
    kept = [Connection(worker.socket_path) for _ in range(40)]
    for connection in kept:
        connection.send(request())
    eventually(lambda: "accepting pauses" in worker.log())
    for connection in kept:  # each that goes makes room for the next
        assert_pong(connection.read_response())
        connection.close()
    assert_pong(Connection(worker.socket_path).ask())
    assert worker.log().count("accepting pauses") < 15
