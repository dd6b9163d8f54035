"""conf/systemd/: the units are well formed, shut in, and what they start works with a socket of systemd."""
import re
import shutil
import signal
import socket
import subprocess

import pytest
import stack
from conftest import BINARY, ROOT
from fcgi_client import Connection
from supervised import Supervisor, run

UNITS = sorted((ROOT / "conf/systemd").iterdir())
MOST_EXPOSED = 20  # of systemd-analyze's 100
CREDENTIALS_SINCE = 250  # the version that knows %d

needs_analyze = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
needs_activate = pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="systemd is not installed")


@pytest.fixture
def units(tmp_path):
    """Copies that name programs that are there; a template as one instance of it."""
    version = int(re.search(r"\d+", run("systemd-analyze", "--version").stdout)[0])
    if version < CREDENTIALS_SINCE:
        pytest.skip(f"systemd {version} does not know %d")
    copies = [tmp_path / unit.name.replace("@.", "@1.") for unit in UNITS]
    for unit, copy in zip(UNITS, copies):
        copy.write_text(unit.read_text().replace("/usr/local/bin/users-api", str(BINARY.resolve())))
    return copies


def test_there_are_units():
    assert {unit.name for unit in UNITS} == {"users-api.service", "users-api.socket", "users-api-spawn-fcgi@.service"}


@needs_analyze
def test_they_are_well_formed(units):
    done = run("systemd-analyze", "verify", *units)
    assert done.returncode == 0 and not re.search("users-api.*(Unknown|Failed|ignoring)", done.stderr), done


@needs_analyze
def test_they_are_shut_in(units):
    services = [unit for unit in units if unit.suffix == ".service"]
    done = run("systemd-analyze", "security", "--no-pager", "--offline=yes", f"--threshold={MOST_EXPOSED}", *services)
    assert done.returncode == 0 and done.stdout.count("Overall exposure level") == len(services), done.stdout


def test_what_they_run_is_there():
    """Each command with its first argument is one of the binary's."""
    helped = run(BINARY, "--help").stdout
    started = [re.findall(r"users-api (\w+)", line) for unit in UNITS for line in unit.read_text().splitlines()
               if line.startswith("Exec")]
    for command in {command for found in started for command in found}:
        assert f"users-api {command} " in helped, command


@needs_activate
def test_with_a_socket_of_systemd(place, settings, eventually):
    path = place.sockets / "systemd.sock"
    supervisor = Supervisor(place, settings | {"HOB_WORKERS": "2", "HOB_LISTEN": ""})
    environment = [f"-E{name}" for name in supervisor.environment if name.startswith(("HOB_", "DATABASE_"))]
    supervisor.spawn(["systemd-socket-activate", "-l", path, *environment, supervisor.binary, "serve", "--pid-file",
                      supervisor.pid_file], env=supervisor.environment)
    try:
        eventually(path.exists)
        with Connection(str(path)) as first:  # which is what it waits for
            assert first.ask().status == 200
        eventually(supervisor.all_ready)
        assert supervisor.reload().returncode == 0
        with Connection(str(path)) as second:
            assert second.ask().status == 200
        supervisor.signal(signal.SIGTERM)
        assert supervisor.wait() == 0 and path.exists()
    finally:
        supervisor.stop()


def test_a_lone_worker_takes_it_as_standard_input(place, settings, tmp_path):
    """StandardInput=socket."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
        s.listen()
        worker = subprocess.Popen([BINARY], stdin=s, env=stack.base_environment() | settings | {
            "LISTEN_FDS": "1", "LISTEN_PID": "1", "HOB_LOG": str(tmp_path / "log")})
    with Connection(path) as connection:
        assert connection.ask(keep=False).status == 200
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
