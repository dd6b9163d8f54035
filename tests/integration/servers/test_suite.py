"""The contract of users-api through every web server, at its root and below a prefix: what a client sees must not tell
which one it is. What a server itself prevents is skipped with its reason, which the README's table repeats."""
import concurrent.futures
import http.client
import itertools
import json
import os
import socket
import threading
import time

import pytest

JSON = {"Content-Type": "application/json"}
ITEM = {"sku": "tea-50", "quantity": 2, "unit_price_cents": 999}
run_id = f"{os.getpid()}-{int(time.time())}"  # a service elsewhere keeps what an earlier run made
counter = itertools.count(1)


class Api:
    """What a front serves, by its own routes."""

    def __init__(self, front):
        self.front, self.client, self.mount = front, front.client, front.mount
        self.users, self.orders = f"{front.mount}/api/v1/users", f"{front.mount}/api/v1/orders"

    def __getattr__(self, method):
        return getattr(self.client, method)

    def email(self):
        return f"ada-{next(counter)}@{run_id}.example"

    def new_user(self, **fields):
        answer = self.post(self.users, {"name": "Ada", "email": self.email()} | fields)
        assert answer.status == 201, answer
        return answer.json

    def of(self, user, rest=""):
        return f"{self.users}/{user['id']}{rest}"


@pytest.fixture
def api(front):
    return Api(front)


# ---- Every route ----


def test_probes(api, eventually):
    assert api.get(f"{api.mount}/ping").body == b'{"message":"pong"}'
    assert api.get(f"{api.mount}/livez").json == {"status": "ok"}
    ready = {"status": "ready", "database": "up", "cache": "up"}
    eventually(lambda: api.get(f"{api.mount}/readyz").json == ready)  # the cache of a new worker may need a moment


def test_a_user_s_life(api):
    created = api.post(api.users, {"name": "Ada", "email": api.email()})
    assert created.status == 201 and created.headers["Content-Type"] == "application/json", created
    path = created.headers["Location"]
    assert path == api.of(created.json)
    assert api.get(path).json == created.json == api.get(path).json
    assert api.patch(path, {"name": "Eve"}).json["name"] == "Eve"
    assert api.get(path).json["name"] == "Eve"
    whole = {"name": "Zoë 😀", "email": api.email()}
    assert api.put(path, whole).json.items() >= whole.items()
    assert api.get(path).json.items() >= whole.items()
    gone = api.delete(path)
    assert (gone.status, gone.body) == (204, b"")
    assert api.get(path).status == 404


def test_orders_and_summary(api):
    user = api.new_user()
    created = api.post(api.of(user, "/orders"), {"items": [ITEM]})
    assert created.status == 201, created
    assert created.headers["Location"] == f"{api.orders}/{created.json['id']}"
    assert api.get(created.headers["Location"]).json == created.json
    listed = api.get(api.of(user, "/orders")).json["orders"]
    assert [order["id"] for order in listed] == [created.json["id"]] and "items" not in listed[0]
    assert api.get(api.of(user, "/summary")).json["totals"] == {"orders": 1, "cents": 1998}
    assert api.delete(api.of(user)).status == 409


def test_pages_follow_their_link(api):
    for _ in range(2):
        api.new_user()
    first = api.get(f"{api.users}?limit=1")
    link = first.headers["Link"]
    assert link.startswith(f"<{api.users}?") and link.endswith('>; rel="next"'), link
    second = api.get(link[1:link.index(">")])
    assert second.status == 200 and second.json["users"][0]["id"] > first.json["users"][0]["id"]


# ---- Common answers ----


def test_problems(api, problem):
    user = api.new_user()
    problem(api.get(f"{api.mount}/nonsense"), 404)
    problem(api.get(f"{api.users}/0"), 404)
    problem(api.get(f"{api.users}/{2**63}"), 404)
    problem(api.get(f"{api.users}?limit=0"), 400)
    problem(api.post(api.users, {"name": "Eve", "email": user["email"].upper()}), 409)
    assert {fault["pointer"] for fault in problem(api.post(api.users, {"name": "", "x": 1}), 422)["errors"]} == {
        "/name", "/email", "/x"}
    problem(api.post(api.users, body=b"{'a':1}", headers=JSON), 400)
    problem(api.post(api.users, body=b"{}", headers={"Content-Type": "text/plain"}), 415)
    problem(api.post(api.users, body=b"{}"), 415)


def test_another_method(api, problem):
    wrong = api.delete(api.users)
    problem(wrong, 405)
    assert {"GET", "HEAD", "POST"} <= set(wrong.headers["Allow"].split(", "))


def test_options(api, front, unless_prevented):
    unless_prevented(front, "OPTIONS")
    answer = api.request("OPTIONS", api.users)
    assert (answer.status, answer.body) == (204, b"")
    assert {"GET", "HEAD", "POST"} <= set(answer.headers["Allow"].split(", "))


def test_head(api):
    path = api.of(api.new_user())
    got, head = api.get(path), api.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    assert head.headers.get("Content-Length", str(len(got.body))) == str(len(got.body))
    assert api.request("HEAD", api.of({"id": 0})).status == 404


def test_request_ids(api):
    assert api.get(f"{api.mount}/ping", headers={"X-Request-ID": "Mine_0.1-a"}).headers["X-Request-ID"] == "Mine_0.1-a"
    answer = api.get(f"{api.mount}/ping", headers={"X-Request-ID": "not mine!"})
    assert answer.headers.get_all("X-Request-ID") and answer.headers["X-Request-ID"] != "not mine!"


@pytest.mark.parametrize("topic, path", [("encoded slash", "/a%2Fb"), ("bad UTF-8", "/%FF"), ("NUL", "/%00"),
                                         ("bad encoding", "/%zz")])
def test_odd_paths(api, front, unless_prevented, topic, path):
    """404 for a path that is no route, 400 for one that is none at all; a server that refuses it itself says so too."""
    unless_prevented(front, topic)
    answer = api.get(api.users + path)
    assert answer.status == (404 if topic == "encoded slash" else 400), answer
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_an_encoded_path_is_decoded_once(api, problem):
    user = api.new_user()
    assert api.get(f"{api.mount}/api/v1/user%73/{user['id']}").json == user
    problem(api.get(f"{api.mount}/api/v1/user%2573/{user['id']}"), 404)


def test_elsewhere_is_not_ours(front, api):
    """Below a prefix, what is outside of it is the web server's own."""
    if front.mount:
        answer = api.get("/ping")
        assert answer.status in (403, 404) and b"pong" not in answer.body, answer


# ---- Bodies and answers of all sizes ----

SIZES = [0, 1, 8184, 65535, 131073, 1024 * 1024]


def padded(email, size):
    document = json.dumps({"name": "Ada", "email": email}).encode()
    return document + b" " * (size - len(document))


@pytest.fixture
def unless_chunks_are_prevented(front, unless_prevented):
    def look(size):
        unless_prevented(front, "chunked, empty" if size == 0 else "chunked, large" if size > 32768 else "chunked")

    return look


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
@pytest.mark.parametrize("size", SIZES)
def test_a_body_of(api, problem, unless_chunks_are_prevented, size, chunked):
    if chunked:
        unless_chunks_are_prevented(size)
    body = padded(api.email(), size) if size > 100 else b"1"[:size]
    answer = api.post(api.users, body=iter([body[:5], body[5:]]) if chunked else body, headers=JSON)
    if size > 100:
        assert answer.status == 201, answer
    else:
        problem(answer, 422 if size else 400)


@pytest.mark.parametrize("size", [1024 * 1024 + 1, 3 * 1024 * 1024])
@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_a_body_too_large(api, problem, unless_chunks_are_prevented, size, chunked):
    if chunked:
        unless_chunks_are_prevented(size)
    body = b" " * size
    problem(api.post(api.users, body=iter([body]) if chunked else body, headers=JSON), 413)


def pattern(size):
    return (b"abcdefghijklmnopqrstuvwxyz" * (size // 26 + 1))[:size]


@pytest.mark.parametrize("size", SIZES[1:])
def test_an_answer_of(mirror, size):
    answer = mirror.client.get(f"/bytes/{size}")
    assert answer.status == 200 and answer.body == pattern(size)


@pytest.mark.parametrize("size", SIZES)
def test_a_body_comes_back(mirror, size):
    """Every byte of it, in both directions at once."""
    body = os.urandom(size)
    answer = mirror.client.post("/mirror", body=body, headers={"Content-Type": "application/octet-stream"})
    assert answer.status == 200 and answer.body == body


def seen(answer):
    assert answer.status == 200, answer
    return dict(line.split("=", 1) for line in answer.body.decode().splitlines())


def test_what_the_application_sees(mirror):
    answer = seen(mirror.client.get("/seen/a%20b?q=c%26d+e", headers={"X-Many": "one", "Authorization": "Bearer t"}))
    assert answer == {"method": "GET", "path": "/seen/a b", "q": "c&d e", "x-many": "one", "x-empty": "",
                      "authorization": "Bearer t", "client": "127.0.0.1", "size": "0"}


def test_a_header_sent_twice(mirror):
    """As if it had been sent once, with both values (RFC 9110, 5.3)."""
    with socket.create_connection(("127.0.0.1", mirror.port), timeout=10) as connection:
        connection.sendall(b"GET /seen/x HTTP/1.1\r\nHost: localhost\r\nX-Many: one\r\nX-Many: two\r\nX-Empty:\r\n"
                           b"Connection: close\r\n\r\n")
        response = http.client.HTTPResponse(connection)
        response.begin()
        assert b"x-many=one, two\nx-empty=\n" in response.read()


def test_a_name_with_an_underscore_is_not_taken_for_another(mirror, unless_prevented):
    """Both are HTTP_X_MANY to the worker (RFC 3875, 4.1.18), and so X_Forwarded_For would be believed."""
    unless_prevented(mirror, "underscore")
    assert seen(mirror.client.get("/seen/x", headers={"X_Many": "one"}))["x-many"] == ""


# ---- Connections ----


def test_keep_alive(api):
    connection = http.client.HTTPConnection(api.client.host, api.client.port, timeout=10)
    connection.connect()
    first = connection.sock
    for method, path, body in [("GET", "/ping", None), ("POST", "/api/v1/users", b"{}"), ("GET", "/nonsense", None)] * 3:
        connection.request(method, api.mount + path, body, JSON if body else {})
        connection.getresponse().read()
        assert connection.sock is first
    connection.close()


def dripping(address, head, body, begun, may_end):
    """The answer's status, to a client that takes a second for its request and then keeps its last tenth until may_end."""
    tenths = [body[at:at + len(body) // 10] for at in range(0, len(body), len(body) // 10)]
    with socket.create_connection(address, timeout=30) as connection:
        connection.sendall(head)
        begun.wait(timeout=30)
        for tenth in tenths[:-1]:
            time.sleep(0.1)
            connection.sendall(tenth)
        assert may_end.wait(timeout=30)
        connection.sendall(tenths[-1])
        response = http.client.HTTPResponse(connection)
        response.begin()
        response.read()
        return response.status


def test_slow_clients(api, front, unless_prevented):
    """They hold nobody up: a quick client is answered while none of them can be."""
    unless_prevented(front, "slow clients")
    many = 20 if front.workers_mode == "cgi" else 100  # by CGI each is a process from its first byte on
    begun, may_end = threading.Barrier(many + 1), threading.Event()
    with concurrent.futures.ThreadPoolExecutor(many) as pool:
        waiting = []
        for _ in range(many):
            body = padded(api.email(), 1000)
            head = (f"POST {api.users} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n")
            waiting.append(pool.submit(dripping, (api.client.host, api.client.port), head.encode(), body, begun, may_end))
        try:
            begun.wait(timeout=30)
            quick = []
            for _ in range(15):
                begin = time.monotonic()
                assert api.get(f"{api.mount}/ping").status == 200
                quick.append(time.monotonic() - begin)
                time.sleep(0.1)
            assert not any(one.done() for one in waiting)
        finally:
            may_end.set()
        assert [one.result() for one in waiting] == [201] * many
    assert sorted(quick)[len(quick) // 2] < (10 if front.workers_mode == "cgi" else 0.5), quick


def given_up(address, data, receive):
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(data)
        if receive:
            connection.recv(receive)


def test_clients_that_give_up(mirror, eventually):
    """In the middle of a body, of the wait for an answer, of an answer; the service goes on, and holds nothing for
    them."""
    address = ("127.0.0.1", mirror.port)
    head = "%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
    for _ in range(10):
        given_up(address, (head % "POST /mirror").encode() + b"Content-Length: 100000\r\n\r\n" + b"x" * 50000, 0)
        given_up(address, (head % "GET /wait/400").encode() + b"\r\n", 0)
        given_up(address, (head % "GET /bytes/1048576").encode() + b"\r\n", 1000)
    assert mirror.client.get("/bytes/10").body == pattern(10)
    if mirror.workers:
        eventually(lambda: not any(slot["in_flight"] for slot in mirror.workers.status()["slots"]))
    body = os.urandom(100000)
    assert mirror.client.post("/mirror", body=body, headers={"Content-Type": "a/b"}).body == body


def test_workers_are_replaced_under_load(api, front):
    """Every answer comes, and none is lost or made twice."""
    if front.workers_mode == "elsewhere":
        pytest.skip("its workers are not ours to replace")
    acknowledged, over = [], []

    def write():
        while not over:
            email = api.email()
            answer = api.post(api.users, {"name": "Ada", "email": email})
            assert answer.status == 201, answer
            acknowledged.append(email)

    def read(path):
        while not over:
            assert api.get(path).status == 200

    path = api.of(api.new_user())
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        busy = [pool.submit(write), pool.submit(write), pool.submit(read, path), pool.submit(read, path)]
        try:
            for _ in range(2):
                time.sleep(0.2)
                front.replace_workers()
            time.sleep(0.2)
        finally:
            over.append(True)
        for one in busy:
            one.result()
    assert len(acknowledged) == len(set(acknowledged)) > 2
    for email in acknowledged[-10:]:
        assert api.post(api.users, {"name": "Again", "email": email}).status == 409
