"""What starts the same worker besides users-api serve: conf/spawn-fcgi, conf/multiwatch; and conf/hob.env, which all of
them may read. Each drains on the signal its manager sends."""
import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import time

import pytest
import stack
from conftest import BINARY, ROOT
from fcgi_client import Connection, request
from supervised import exists, run

SPAWN_FCGI = ROOT / "conf/spawn-fcgi/users-api.sh"
MULTIWATCH = ROOT / "conf/multiwatch/users-api.sh"


class Managed:
    """A script of conf/, its socket and its log."""

    def __init__(self, place, settings, script):
        name = f"{script.parent.name}-{time.monotonic_ns()}"
        self.script = script
        self.socket_path = str(place.sockets / f"{name}.sock")
        self.pid_file = place.path / f"{name}.pids"
        self.log_path = place.path / f"{name}.log"
        self.environment = stack.base_environment() | settings | {
            "BINARY": str(BINARY.resolve()), "SOCKET": self.socket_path, "PID_FILE": str(self.pid_file), "ACCOUNT": "",
            "HOB_LOG": str(self.log_path), "WORKERS": "2"}
        self.options = {"env": self.environment, "cwd": place.path, "stdin": subprocess.DEVNULL}

    def run(self, *arguments):
        return subprocess.run([self.script, *arguments], capture_output=True, text=True, timeout=60, **self.options)

    def start(self):
        return subprocess.Popen([self.script], start_new_session=True, **self.options)

    def status(self):
        done = run(BINARY, "status", "--json", environment={"HOB_LISTEN": self.socket_path})
        return json.loads(done.stdout) if done.stdout else None

    def pids(self):
        return {slot["pid"] for slot in self.status()["slots"]}

    def serves_with(self, count):
        status = self.status()
        return status is not None and status["ready"] == count

    @contextlib.contextmanager
    def request_in_flight(self, lock, eventually):
        """Answered, whatever the block does."""
        with Connection(self.socket_path) as connection:
            eventually(lambda: connection.ask("GET", "/readyz").status == 200)
            held = lock("users")
            connection.send(request("GET", "/api/v1/users"))
            time.sleep(0.3)
            yield
            time.sleep(0.3)
            held.release()
            assert connection.read_response().status == 200


def stop_all(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def reap(pids):
    """What a manager leaves behind is ours where the harness adopts orphans, and counts as running until it is reaped."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


# ---- spawn-fcgi ----


@pytest.fixture
def spawned(place, settings, eventually):
    managed = Managed(place, settings, SPAWN_FCGI)
    done = managed.run("start")
    assert done.returncode == 0, done
    pids = [int(pid) for pid in managed.pid_file.read_text().split()]
    yield managed
    stop_all(filter(exists, pids))


def test_spawn_fcgi(spawned, lock, eventually):
    eventually(lambda: spawned.serves_with(2))
    pids = spawned.pids()
    assert pids == {int(pid) for pid in spawned.pid_file.read_text().split()}  # one scoreboard for all
    assert stat.S_IMODE(os.stat(spawned.socket_path).st_mode) == 0o660
    assert "2 workers, 2 ready" in spawned.run("status").stdout
    stopping = None
    with spawned.request_in_flight(lock, eventually):
        stopping = subprocess.Popen([spawned.script, "stop"], **spawned.options)
        eventually(lambda: any(slot["state"] == "draining" for slot in spawned.status()["slots"]))
    eventually(lambda: reap(pids) or stopping.poll() is not None, 30)
    assert stopping.returncode == 0
    assert not any(map(exists, pids)) and not os.path.exists(spawned.socket_path)


def test_spawn_fcgi_with_a_bad_configuration(place, settings):
    managed = Managed(place, settings | {"HOB_MAX_BODY": "huge"}, SPAWN_FCGI)
    done = managed.run("start")
    assert done.returncode == 1 and "HOB_MAX_BODY" in done.stderr and not managed.pid_file.exists(), done
    assert managed.run("nonsense").returncode == 2


# ---- multiwatch ----


@pytest.fixture
def watched(place, settings, eventually):
    managed = Managed(place, settings, MULTIWATCH)
    managed.process = managed.start()
    eventually(lambda: managed.serves_with(2))
    yield managed
    pids = managed.pids()
    if managed.process.poll() is None:
        managed.process.kill()
        managed.process.wait()
    stop_all(pids)


def test_multiwatch(watched, lock, eventually):
    pids = watched.pids()
    with watched.request_in_flight(lock, eventually):
        watched.process.send_signal(signal.SIGTERM)
        eventually(lambda: any(slot["state"] == "draining" for slot in watched.status()["slots"]))
    assert watched.process.wait(30) == 0
    assert not any(map(exists, pids))


def test_multiwatch_starts_workers_anew_and_never_gives_up(watched, eventually):
    for _ in range(5):  # left to itself, it would stop after three
        before = watched.pids()
        stop_all(before)
        eventually(lambda: watched.serves_with(2) and not watched.pids() & before)


# ---- Settings ----


def test_hob_env_is_the_table_of_settings():
    """All but its own name, each with its meaning and default, and nothing switched on."""
    head, _, settings = (ROOT / "conf/hob.env").read_text().partition("\n\n")
    assert all(line.startswith("# ") for line in head.splitlines())
    expected = [f"# {meaning}\n#{name}={default}\n" for name, default, meaning in table() if name != "HOB_CONFIG"]
    assert settings == "\n".join(expected)


def table():
    for line in run(BINARY, "--config-table").stdout.splitlines()[2:]:
        yield [cell.strip().strip("`") for cell in line.split("|")[1:-1]]


def test_hob_env_with_everything_switched_on_is_the_default(tmp_path):
    switched_on = tmp_path / "hob.env"
    switched_on.write_text(re.sub("^#(?! )", "", (ROOT / "conf/hob.env").read_text(), flags=re.MULTILINE))
    read = run(BINARY, "--print-config", environment={"HOB_CONFIG": str(switched_on)})
    default = run(BINARY, "--print-config")
    assert read.returncode == 0, read
    assert read.stdout.splitlines()[1:] == default.stdout.splitlines()[1:]


def test_a_secret_in_a_file_of_its_own(tmp_path, settings, place):
    secret = tmp_path / "database_url"
    secret.write_text(settings["DATABASE_URL"] + "\n")
    done = run(BINARY, "--check", environment={"DATABASE_URL_FILE": str(secret)})
    assert done.returncode == 0 and "database: good" in done.stdout, done
