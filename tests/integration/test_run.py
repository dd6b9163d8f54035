"""`make run` in a copy of the checkout: as the account that runs the tests and, where that is root, as an ordinary one.

pytest's directories are closed to others, so as root PostgreSQL's account cannot walk to its data here either.
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import psycopg2
import pytest

import stack
from conftest import Client, ROOT

LEFT_OUT = shutil.ignore_patterns(".git", ".run", "san", "clang", "clang-san", "tests", "__pycache__")


def copy_checkout(to):
    shutil.copytree(ROOT, to, ignore=LEFT_OUT)
    (to / "tests/unit").mkdir(parents=True)
    return to


class Run:
    """One `make run`, in a process group of its own as a shell would have it."""

    def __init__(self, checkout, port, account=None, **settings):
        self.checkout, self.port, self.directory = checkout, port, checkout / ".run"
        environment = {k: v for k, v in stack.base_environment().items() if "MAKE" not in k and k != "MFLAGS"}
        environment |= {"HOB_RUN_PORT": str(port), "WORKERS": "2", "HOME": "/nonexistent"} | settings
        self.output = tempfile.TemporaryFile("w+")
        options = {"user": account, "group": "nogroup", "extra_groups": []} if account else {}
        self.process = subprocess.Popen(["make", "run"], cwd=checkout, env=environment, stdin=subprocess.DEVNULL,
                                        stdout=self.output, stderr=self.output, start_new_session=True, **options)
        self.client = Client(port)

    def said(self):
        self.output.seek(0)
        return self.output.read()

    def wait_ready(self, seconds=120):
        stack.wait_for(lambda: "is ready" in self.said() or self.process.poll() is not None, seconds, "make run")
        assert self.process.poll() is None, self.said()
        return self

    def interrupt(self):
        """As a terminal does on Ctrl-C: the whole group hears it."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(30)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def running(self):
        return stack.leftovers(self.directory)

    def database(self):
        host = self.directory / "sockets/postgresql"
        return contextlib.closing(psycopg2.connect(host=str(host.resolve()), user="users_api", dbname="users_api"))

    def counts(self):
        """Users, orders, and the fewest and most items of an order."""
        with self.database() as connection, connection.cursor() as cursor:
            cursor.execute("WITH items AS (SELECT order_id, count(*) AS n FROM order_items GROUP BY order_id)"
                           " SELECT (SELECT count(*) FROM users), count(*), min(n), max(n)"
                           " FROM orders LEFT JOIN items ON order_id = id")
            return cursor.fetchone()


@pytest.fixture
def start():
    """start(checkout, ...): a Run; killed at the test's end if it still lives."""
    runs = []

    def start(*arguments, **settings):
        runs.append(Run(*arguments, **settings))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.interrupt()
        stack.stop_leftovers(run.directory)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return copy_checkout(tmp_path_factory.mktemp("run") / "checkout")


def curl(line):
    """What the server answered to a line that the user is told to type."""
    done = subprocess.run(["sh", "-c", line.replace("curl ", "curl -sS ", 1)], capture_output=True, text=True)
    assert done.returncode == 0, (line, done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def curl_lines(text, port):
    return [line.strip().replace(":8080", f":{port}") for line in text.splitlines() if line.strip().startswith("curl ")]


def test_first_run_second_run_and_ctrl_c(start, checkout):
    bystander = subprocess.Popen(["sleep", "60"], cwd=checkout, start_new_session=True)
    port = stack.free_port()
    run = start(checkout, port).wait_ready()
    assert "loading demo data" in run.said()
    assert run.counts() == (1000, 10000, 1, 4)
    told = [curl(line) for line in curl_lines(run.said(), port)]
    assert [list(answer)[0] for answer in told] == ["id", "users", "id"], told
    own = run.client.new_user(email="own@b.c")
    run.interrupt()
    assert run.running() == set()
    assert not (run.directory / "sockets").exists()
    with pytest.raises(OSError):
        run.client.get("/ping")

    begin = time.monotonic()
    again = start(checkout, port).wait_ready()
    assert time.monotonic() - begin < 10
    assert "loading demo data" not in again.said()
    assert again.client.get(f"/api/v1/users/{own['id']}").json == own
    assert again.counts()[:2] == (1002, 10000)  # with the one that the third curl line made
    again.interrupt()
    assert again.running() == set()
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_the_readmes_session(start, checkout):
    run = start(checkout, stack.free_port()).wait_ready()
    with run.database() as database, database:
        database.cursor().execute("DELETE FROM users WHERE email = 'ada@example.com'")
    session = [curl(line) for line in curl_lines((ROOT / "README.md").read_text(), run.port)]
    assert len(session) >= 5
    assert {answer["status"] for answer in session if "status" in answer} == {422, "ready"}
    run.interrupt()


def test_after_a_kill(start, checkout):
    """First the run alone, which leaves its workers; then everything at once, as when the machine stops."""
    for everything in (False, True):
        run = start(checkout, stack.free_port()).wait_ready()
        before = run.running()
        run.kill()
        if everything:
            for pid in run.running():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    last = start(checkout, run.port).wait_ready()
    assert before.isdisjoint(last.running())
    assert last.counts()[0] >= 1000
    last.interrupt()
    assert last.running() == set()


def test_a_taken_port_is_one_clear_line(start, checkout):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = start(checkout, taken.getsockname()[1])
        assert run.process.wait(60) != 0
    said = [line for line in run.said().splitlines() if not line.startswith("make")
            or line.startswith("make run:")]
    assert len(said) == 1 and str(run.port) in said[0] and "HOB_RUN_PORT=" in said[0], run.said()
    assert run.running() == set()


def test_two_at_once(start, checkout):
    first = start(checkout, stack.free_port()).wait_ready()
    second = start(checkout, stack.free_port())
    assert second.process.wait(60) != 0
    assert "something else is running in" in second.said()
    assert first.client.get("/readyz").status == 200
    first.interrupt()


@pytest.mark.parametrize("name, value", [("HOB_RUN_PORT", "http"), ("HOB_RUN_PORT", "0"), ("WORKERS", "-1")])
def test_bad_settings(start, checkout, name, value):
    run = start(checkout, stack.free_port(), **{name: value})
    assert run.process.wait(60) != 0
    assert f"make run: {name}={value}: not a number from 1 to" in run.said()


def test_a_path_too_long_for_sockets(start, tmp_path):
    checkout = copy_checkout(tmp_path / ("long-" * 20) / "check out's")
    run = start(checkout, stack.free_port()).wait_ready()
    sockets = (run.directory / "sockets").resolve()
    assert sockets.parent == pathlib.Path("/tmp")
    assert run.client.get("/readyz").status == 200
    assert run.counts()[0] == 1000
    run.interrupt()
    assert not sockets.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests ran as an ordinary account")
def test_as_an_ordinary_account(start):
    with tempfile.TemporaryDirectory(dir="/tmp") as parent:
        os.chmod(parent, 0o755)
        checkout = copy_checkout(pathlib.Path(parent) / "checkout")
        subprocess.run(["chown", "-R", "nobody:nogroup", checkout], check=True)
        run = start(checkout, stack.free_port(), account="nobody").wait_ready()
        assert run.counts()[:2] == (1000, 10000)
        owners = {os.stat(f"/proc/{pid}").st_uid for pid in run.running()}
        assert owners == {checkout.stat().st_uid}
        run.interrupt()
        assert run.running() == set()
