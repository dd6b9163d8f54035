"""Requests under constant load, through nginx with its kept connections, while workers are reloaded, replaced, told to
stop and killed. Every POST has a key of its own; which are there is compared with which were acknowledged.

ROLL_CONNECTIONS (32) ask as soon as they are answered, or ROLL_RATE times a second together.
"""
import collections
import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import time

import pytest
import stack

from conftest import SEED
from integration.conftest import BINARY, BUILD
from integration.supervised import Supervisor, run, serving

SECONDS = float(os.environ.get("FAULT_SECONDS", 4))
LONG = SECONDS >= 30
RUNS = range(3 if LONG else 1)
TIMES = 20 if LONG else 3
PAUSE = 0.9 if LONG else 0.2
STEADY_SECONDS = 8 if LONG else 0.3
WARM_UP_NS = 10**9 if LONG else 0
LEAST = 340_000 if LONG else 1000  # three of them are more than a million
CONNECTIONS = int(os.environ.get("ROLL_CONNECTIONS", 32))
RATE = int(os.environ.get("ROLL_RATE", 0))
POSTS_PER_MILLE = 100
WORKERS = 4
USERS = 1000
RESPAWN_SECONDS = 0.2 if LONG else 2  # the short one may run beside anything
QUICK_DEATH_SECONDS = 5  # a worker that dies sooner may make its successor wait: supervisor_workers.c
DEATH_TAKES_NS = 100_000_000  # until the kernel has closed its sockets and nginx has noticed
Operation = collections.namedtuple("Operation", "method key begin end status")
counter = itertools.count(1)
draw = random.Random(SEED)
every_run = pytest.mark.parametrize("turn", RUNS)


class Load:
    """operations, after the block, and what part of them came while it ran."""

    def __init__(self, port, database):
        self.prefix = f"roll{next(counter)}-"
        domain = f"{self.prefix}read.example"
        database.execute("INSERT INTO users (name, email) SELECT 'Ada', n || '@' || %s FROM generate_series(1, %s) n",
                         domain, USERS)
        (first, last), = database.execute("SELECT min(id), max(id) FROM users WHERE email LIKE %s", f"%@{domain}")
        assert last - first == USERS - 1
        self.arguments = [BUILD / "tests/fault/support/roll_load", port, CONNECTIONS, RATE, POSTS_PER_MILLE, LEAST,
                          self.prefix, first, USERS]

    def __enter__(self):
        self.process = subprocess.Popen(list(map(str, self.arguments)), stdout=subprocess.PIPE, text=True)
        time.sleep(STEADY_SECONDS)
        self.disturbed = time.monotonic_ns()
        return self

    def __exit__(self, *failure):
        self.quiet = time.monotonic_ns()
        self.process.kill() if any(failure) else self.process.terminate()
        out, _ = self.process.communicate(timeout=300)
        assert any(failure) or self.process.returncode == 0
        rows = (line.split() for line in out.splitlines())
        self.operations = [Operation(method, *map(int, numbers)) for method, *numbers in rows]

    @property
    def failed(self):
        return [o for o in self.operations if o.status != (201 if o.method == "POST" else 200)]

    def p50_and_p99_ms(self, begin, end):
        took = sorted(o.end - o.begin for o in self.operations if begin <= o.begin < end)
        return [took[len(took) * p // 100] / 1e6 for p in (50, 99)]

    def lost_and_doubled(self, database):
        """Keys that were acknowledged and are not there; and those that are there more than once, or whose request was
        refused because they were."""
        rows = database.execute("SELECT email FROM users WHERE email LIKE %s", f"{self.prefix}%@roll.example")
        there = collections.Counter(int(email.removeprefix(self.prefix).partition("@")[0]) for email, in rows)
        posts = [o for o in self.operations if o.method == "POST"]
        acknowledged = {o.key for o in posts if o.status == 201}
        unknown = {o.key for o in posts} - acknowledged
        assert there.keys() <= acknowledged | unknown
        doubled = [key for key, count in there.items() if count > 1] + [o.key for o in posts if o.status == 409]
        return sorted(acknowledged - there.keys()), doubled

    def examine(self, database, what):
        """What failed; figures are printed."""
        lost, doubled = self.lost_and_doubled(database)
        failed = self.failed
        steady = self.p50_and_p99_ms(self.operations[0].begin + WARM_UP_NS, self.disturbed)
        rolling = self.p50_and_p99_ms(self.disturbed, self.quiet)
        seconds = (self.operations[-1].end - self.operations[0].begin) / 1e9
        kinds = dict(collections.Counter((o.method, o.status) for o in failed))
        print(f"{what}: {len(self.operations)} requests in {seconds:.1f} s, {len(failed)} failed {kinds or ''}")
        print("p50 and p99 in ms: {:.2f} {:.2f} before, {:.2f} {:.2f} meanwhile".format(*steady, *rolling))
        assert (lost, doubled) == ([], [])
        assert len(self.operations) >= LEAST
        if LONG:
            assert rolling[1] < 2 * steady[1]
        return failed


@contextlib.contextmanager
def behind_nginx(place, socket_path):
    """The port."""
    nginx = stack.Nginx(place, stack.free_port(), socket_path, name=f"nginx-rolling-{next(counter)}")
    with stack.running(nginx):
        stack.wait_ready(nginx.port)
        yield nginx.port


@pytest.fixture
def quiet_settings(settings):
    return settings | {"HOB_LOG_LEVEL": "warn"}


@pytest.fixture
def supervisor(place, quiet_settings, request):
    """A test may ask for more settings by its parameter."""
    supervisor = Supervisor(place, quiet_settings | {"HOB_WORKERS": str(WORKERS)} | getattr(request, "param", {}))
    supervisor.start()
    yield supervisor
    supervisor.stop()


@pytest.fixture
def load(place, supervisor, database):
    with behind_nginx(place, supervisor.socket_path) as port:
        yield Load(port, database)


@every_run
def test_reloads(supervisor, load, database, turn):
    with load:
        for _ in range(TIMES):
            done = supervisor.reload()
            assert done.returncode == 0, done
            time.sleep(PAUSE)
    assert not load.examine(database, f"{TIMES} reloads")


@pytest.mark.parametrize("supervisor", [{"HOB_DRAIN_TIMEOUT": "1ms"}], indirect=True)
def test_finds_a_drain_that_is_cut_short(supervisor, load):
    """What is wrong is seen: else the tests here prove nothing."""
    with load:
        for _ in range(3):
            assert supervisor.reload().returncode == 0
            time.sleep(0.2)
    assert load.failed


@every_run
def test_workers_told_to_stop(supervisor, load, database, turn):
    with load:
        for _ in range(TIMES):
            os.kill(draw.choice(sorted(supervisor.pids())), signal.SIGTERM)
            time.sleep(PAUSE)
    assert not load.examine(database, f"{TIMES} x SIGTERM")
    assert supervisor.status()["deaths"] == 0


def succeeded(status, victim):
    return status["ready"] == len(serving(status)) == WORKERS and victim not in serving(status)


def kill_one(supervisor, victims):
    """When it was killed, and the seconds until its successor was ready."""
    victim = draw.choice(sorted(victims))
    killed = time.monotonic_ns()
    os.kill(victim, signal.SIGKILL)
    stack.wait_for(lambda: succeeded(supervisor.status(), victim), 20, "a successor")
    return killed, (time.monotonic_ns() - killed) / 1e9


@every_run
def test_workers_killed(supervisor, load, database, turn):
    """Who was in flight in a killed worker may fail, and nobody else."""
    kills, respawns, since = [], [], dict.fromkeys(supervisor.pids(), 0)
    with load:
        for _ in range(TIMES):
            at = time.monotonic()
            old = {pid for pid, seen in since.items() if at - seen > QUICK_DEATH_SECONDS}
            killed, respawn = kill_one(supervisor, old)
            kills.append(killed)
            respawns.append(respawn)
            since = {pid: since.get(pid, time.monotonic()) for pid in supervisor.pids()}
            time.sleep(1.5 * PAUSE)
    failed = load.examine(database, f"{TIMES} x SIGKILL")
    print("ready again after ms:", *(f"{1000 * respawn:.0f}" for respawn in sorted(respawns)))
    assert all(o.status in (0, 502) for o in failed), failed
    strange = [o for o in failed if not any(o.begin < at + DEATH_TAKES_NS and at < o.end for at in kills)]
    assert not strange, strange
    print(sum(not any(o.begin < at < o.end for at in kills) for o in failed), "of them came while it died")
    assert len(failed) <= len(kills) * CONNECTIONS / 2
    assert supervisor.status()["deaths"] == TIMES and max(respawns) < RESPAWN_SECONDS


# ---- Without a supervisor ----


class Spawned(stack.Daemon):
    """spawn-fcgi makes the socket, and a shell that holds it starts another worker for each line it is told."""

    HOLDER = 'while read -r _; do "$0" <&3 3<&- & done'

    def __init__(self, place, environment):
        self.name = f"spawned-{next(counter)}"
        super().__init__(place)
        self.socket_path = place.sockets / f"{self.name}.sock"
        self.orders = place.path / f"{self.name}.orders"
        self.environment = stack.base_environment() | environment
        self.workers = []  # pids, the oldest first

    def start(self):
        os.mkfifo(self.orders)
        script = f'exec 3<&0 <"{self.orders}"; {self.HOLDER}'
        self.spawn(["spawn-fcgi", "-n", "-b", "4096", "-s", self.socket_path, "--", "/bin/sh", "-c", script, BINARY],
                   env=self.environment)
        self.shell = open(self.orders, "w", buffering=1)
        for _ in range(WORKERS):
            self.start_one()

    def ready(self):
        done = run(BINARY, "status", "--json", environment={"HOB_LISTEN": str(self.socket_path)})
        slots = json.loads(done.stdout)["slots"] if done.stdout else []
        return {slot["pid"] for slot in slots if slot["state"] == "ready"}

    def start_one(self):
        self.shell.write("one\n")
        fresh, = stack.wait_for(lambda: self.ready() - set(self.workers), 20, "another worker")
        self.workers.append(fresh)

    def replace_one(self):
        self.start_one()
        os.kill(self.workers.pop(0), signal.SIGTERM)

    def stop(self):
        """Its workers are told; the shell ends when they have gone."""
        for pid in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        self.shell.close()
        super().stop()


@pytest.fixture
def spawned(place, quiet_settings):
    spawned = Spawned(place, quiet_settings)
    try:
        spawned.start()
        yield spawned
    finally:
        spawned.stop()


@every_run
def test_spawned_workers_replaced(place, spawned, database, turn):
    with behind_nginx(place, spawned.socket_path) as port:
        with Load(port, database) as load:
            for _ in range(TIMES):
                spawned.replace_one()
                time.sleep(PAUSE)
        assert not load.examine(database, f"{TIMES} replacements")
