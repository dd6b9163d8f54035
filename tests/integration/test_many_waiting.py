"""One worker, ten thousand requests in flight: handlers asleep on a timer cost little, and all are answered."""
import os
import pathlib
import resource
import selectors
import socket
import time

import pytest

import stack
from conftest import SUPPORT, Worker
from fcgi_client import request

REQUESTS = 10_000
KIB_EACH = 32
WAIT_MS = 8_000
SANITIZED = "san" in os.environ.get("HOB_BUILD", "")


@pytest.fixture
def waiter(place):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < REQUESTS + 100:
        pytest.fail(f"the limit of open files is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    settings = {"HOB_MAX_IN_FLIGHT": str(REQUESTS), "HOB_REQUEST_TIMEOUT": "120s", "HOB_LOG_LEVEL": "info"}
    waiter = Worker(place, settings, program=SUPPORT / "waiter")
    waiter.start()
    yield waiter
    waiter.stop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory_kib(pid):
    """What the worker alone holds: neither shared libraries nor files."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith(("Private_Dirty:", "Private_Clean:")))


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    stack.wait_for(lambda: s.connect_ex(path) == 0, 10, "a connection")
    return s


def read_all(connections, seconds):
    """The answers, by connection; each is over when the worker closes."""
    answers = {c: b"" for c in connections}
    end = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for c in connections:
            c.setblocking(False)
            selector.register(c, selectors.EVENT_READ)
        while selector.get_map():
            assert time.monotonic() < end, f"{len(selector.get_map())} are not answered"
            for key, _ in selector.select(1):
                data = key.fileobj.recv(65536)
                answers[key.fileobj] += data
                if not data:
                    selector.unregister(key.fileobj)
    return answers


def test_ten_thousand_requests_in_flight(waiter):
    first = connect(waiter.socket_path)
    first.sendall(request(target="/wait/1", keep=False))
    assert b"waited" in read_all([first], 20)[first]
    before = memory_kib(waiter.pid)
    wait_ms = WAIT_MS * (4 if SANITIZED else 1)
    began = time.monotonic()
    connections = [connect(waiter.socket_path) for _ in range(REQUESTS)]
    for c in connections:
        c.sendall(request(target=f"/wait/{wait_ms}", keep=False))
    sent = time.monotonic() - began
    assert sent < wait_ms / 1000 - 1, f"sending took {sent:.1f} s: they were not all in flight at once"
    time.sleep(1)
    each = (memory_kib(waiter.pid) - before) / REQUESTS
    answers = read_all(connections, wait_ms / 1000 + 60)
    good = sum(b"Status: 200" in answer and b"waited" in answer for answer in answers.values())
    print(f"\n{REQUESTS} requests in flight in one worker: {each:.1f} KiB each")
    assert good == REQUESTS
    assert SANITIZED or each <= KIB_EACH
    for c in connections + [first]:
        c.close()
