"""users-api serve: many processes, and what every signal does to them."""
import json
import os
import signal
import socket
import stat
import subprocess
import time

import pytest
import stack
from conftest import BINARY, Client
from fcgi_client import Connection, request
from supervised import Load, Supervisor, exists, run

BAD_SETTING = "HOB_MAX_BODY=huge\n"


@pytest.fixture
def supervisor_with(place, settings):
    started = []

    def start(overrides=None, **options):
        given = settings | {"HOB_WORKERS": "2"} | (overrides or {})
        supervisor = Supervisor(place, {k: v for k, v in given.items() if v is not None})
        started.append(supervisor)
        supervisor.start(**options)
        return supervisor

    yield start
    for supervisor in started:
        supervisor.stop()


@pytest.fixture
def supervisor(supervisor_with):
    return supervisor_with()


@pytest.fixture
def behind_nginx(place):
    """behind_nginx(supervisor): a client."""
    started = []

    def start(supervisor):
        nginx = stack.Nginx(place, stack.free_port(), supervisor.socket_path, name=f"nginx-{supervisor.name}")
        started.append(nginx)
        nginx.start()
        stack.wait_ready(nginx.port)
        return Client(nginx.port)

    yield start
    for nginx in started:
        nginx.stop()


def ask(path, target="/ping"):
    with Connection(str(path)) as connection:
        return connection.ask("GET", target, keep=False).status


# ---- Start ----


def test_it_serves_with_as_many_workers_as_told(supervisor):
    assert ask(supervisor.socket_path) == 200
    status = supervisor.status()
    assert (status["wanted"], status["ready"], status["supervisor"]) == (2, 2, supervisor.pid)
    assert all(slot["generation"] == status["generation"] for slot in status["slots"])
    assert int(supervisor.pid_file.read_text()) == supervisor.pid
    assert stat.S_IMODE(os.stat(supervisor.socket_path).st_mode) == 0o660


def test_its_queue_is_as_long_as_the_system_allows(supervisor):
    """In a network of its own, where that can be set; glibc's SOMAXCONN is 4096 however much the kernel allows."""
    supervisor.stop()
    supervisor.deploy_script(f"""exec unshare --net sh -c '
        echo 5000 > /proc/sys/net/core/somaxconn && exec {BINARY} "$@"' users-api "$@" """)
    supervisor.start()
    sockets = run("nsenter", "--net", f"--target={supervisor.pid}", "ss", "-xlH").stdout
    queue, = [line.split()[3] for line in sockets.splitlines() if str(supervisor.socket_path) in line]
    assert queue == "5000", sockets


def test_the_status_is_a_table_too(supervisor):
    ask(supervisor.socket_path)
    done = supervisor.command("status")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and "2 workers, 2 ready" in lines[0], done
    assert len([line for line in lines if " ready " in line and line.split()[0].isdigit()]) == 2, done
    elsewhere = run(BINARY, "status", environment={"HOB_LISTEN": str(supervisor.socket_path)})
    assert elsewhere.returncode == 0 and "2 workers, 2 ready" in elsewhere.stdout, elsewhere


def test_requests_are_counted_over_all_workers(supervisor, eventually):
    for _ in range(10):
        assert ask(supervisor.socket_path) == 200
    assert ask(supervisor.socket_path, "/nowhere") == 404
    eventually(lambda: supervisor.status()["requests"] == 11)
    for pid in supervisor.pids():
        os.kill(pid, signal.SIGKILL)
    eventually(supervisor.all_ready)
    assert supervisor.status()["requests"] == 11  # also without those that counted them
    assert supervisor.status()["deaths"] == 2


def test_mode_and_group_of_the_socket(supervisor_with):
    group = os.getgid()
    supervisor = supervisor_with({"HOB_LISTEN_MODE": "0600", "HOB_LISTEN_GROUP": str(group)})
    status = os.stat(supervisor.socket_path)
    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o600, group)


@pytest.fixture
def own_sockets(supervisor_with, place):
    pattern = f"{place.sockets}/own-%d.sock"
    supervisor = supervisor_with({"HOB_LISTEN": pattern})
    return supervisor, lambda number: pattern.replace("%d", str(number))


def test_tcp(supervisor_with, tmp_path):
    port = stack.free_port()
    supervisor_with({"HOB_LISTEN": f"127.0.0.1:{port}", "HOB_SCOREBOARD": str(tmp_path / "board")})
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(request())
        assert s.recv(65536)


@pytest.mark.parametrize("overrides, named", [
    ({"HOB_LISTEN": ""}, "HOB_LISTEN"),
    ({"HOB_LISTEN": "nothing"}, "HOB_LISTEN"),
    ({"HOB_LISTEN": "127.0.0.1:notaport"}, "notaport"),
    ({"HOB_LISTEN": "/nonexistent/dir/s"}, "/nonexistent/dir/s"),
    ({"HOB_LISTEN": "/tmp/" + "x" * 110}, "107"),
    ({"HOB_LISTEN_MODE": "rw"}, "HOB_LISTEN_MODE"),
    ({"HOB_LISTEN_MODE": "01777"}, "HOB_LISTEN_MODE"),
    ({"HOB_LISTEN_GROUP": "no-such-group"}, "no-such-group"),
    ({"HOB_WORKERS": "many"}, "HOB_WORKERS"),
    ({"HOB_MAX_BODY": "huge"}, "HOB_MAX_BODY"),
])
def test_a_start_that_is_refused_with_one_line(supervisor_with, overrides, named):
    supervisor = supervisor_with(overrides, ready=False)
    assert supervisor.wait() == 1
    lines = supervisor.log().splitlines()
    assert len(lines) == 1 and named in lines[0], lines
    assert not supervisor.pid_file.exists() and not supervisor.socket_path.exists()


def test_nothing_is_taken_away_from_others(supervisor, supervisor_with, place):
    second = supervisor_with({"HOB_LISTEN": str(supervisor.socket_path)}, ready=False)
    assert second.wait() == 1 and "in use" in second.log()
    precious = place.sockets / "precious"
    precious.write_text("not a socket")
    third = supervisor_with({"HOB_LISTEN": str(precious)}, ready=False)
    assert third.wait() == 1 and precious.read_text() == "not a socket"
    same_pid_file = run(BINARY, "serve", "--pid-file", supervisor.pid_file,
                        environment={"HOB_LISTEN": f"{supervisor.socket_path}2"})
    assert same_pid_file.returncode == 1 and f"process {supervisor.pid}" in same_pid_file.stderr
    assert supervisor.all_ready() and ask(supervisor.socket_path) == 200


def test_a_socket_file_that_is_left_over_is_replaced(supervisor_with, place):
    path = place.sockets / "left-over.sock"
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(path))
        s.listen()
    supervisor = supervisor_with({"HOB_LISTEN": str(path)})
    assert ask(path) == 200
    supervisor.signal(signal.SIGTERM)
    assert supervisor.wait() == 0
    assert not path.exists() and not supervisor.pid_file.exists()


# ---- Inherited sockets ----


def listening(path):
    s = socket.socket(socket.AF_UNIX)
    s.bind(str(path))
    s.listen(100)
    return s


def test_a_socket_on_fd_0(supervisor_with, place):
    path = place.sockets / "inherited.sock"
    with listening(path) as s:
        supervisor = supervisor_with({"HOB_LISTEN": ""}, stdin=s)
    assert ask(path) == 200
    supervisor.signal(signal.SIGTERM)
    assert supervisor.wait() == 0
    assert path.exists()  # it is somebody else's


def start_with_listen_fds(supervisor, sockets):
    """As systemd does: from fd 3 on, and for this pid only."""
    fds = [s.fileno() for s in sockets]
    shuffle = " ".join(f"{3 + i}<&{fd}" for i, fd in enumerate(fds))
    script = f'exec {shuffle}; LISTEN_PID=$$ LISTEN_FDS={len(fds)} exec "$0" "$@"'
    supervisor.spawn(["bash", "-c", script, supervisor.binary, "serve", "--pid-file", supervisor.pid_file],
                     env=supervisor.environment, pass_fds=fds)
    supervisor.wait_ready(supervisor.all_ready)


def test_sockets_of_systemd(place, settings):
    supervisor = Supervisor(place, settings | {"HOB_WORKERS": "3", "HOB_LISTEN": ""})
    paths = [place.sockets / f"activated-{i}.sock" for i in range(2)]
    sockets = [listening(path) for path in paths]
    high = [socket.socket(fileno=os.dup(s.fileno())) for s in sockets]
    try:
        start_with_listen_fds(supervisor, high)
        assert all(ask(path) == 200 for path in paths)
        assert supervisor.reload().returncode == 0
        assert all(ask(path) == 200 for path in paths)
    finally:
        supervisor.stop()
        for s in sockets + high:
            s.close()


# ---- Deaths ----


def test_a_dead_worker_is_replaced_at_once(supervisor, eventually):
    before = supervisor.pids()
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    started = time.monotonic()
    eventually(lambda: supervisor.pids() - before)
    assert time.monotonic() - started < 5
    eventually(supervisor.all_ready)
    said = next(m for m in supervisor.messages() if f"pid {victim}" in m and "killed by signal 9" in m)
    assert "the next starts in 0 ms" in said
    assert supervisor.status()["deaths"] == 1


def test_a_crash_loop_slows_down_is_shouted_about_and_leaves_the_others_alone(supervisor, eventually):
    healthy = max(supervisor.pids())
    supervisor.deploy_script(f"echo . >>{supervisor.directory}/starts; exit 3")
    os.kill(min(supervisor.pids()), signal.SIGKILL)
    eventually(lambda: supervisor.said("CRASH LOOP: worker"), 20)
    time.sleep(1)
    starts = (supervisor.directory / "starts").read_text().count(".")
    assert 3 <= starts <= 12  # without waiting there would be hundreds
    assert supervisor.said("exited with status 3")
    assert supervisor.pids() == {healthy} and ask(supervisor.socket_path) == 200
    supervisor.deploy(BINARY)
    eventually(supervisor.all_ready, 30)


def test_a_worker_that_never_becomes_ready_is_replaced(supervisor_with, eventually):
    supervisor = supervisor_with({"HOB_START_TIMEOUT": "1s"})
    supervisor.deploy_script("exec sleep 600")
    os.kill(min(supervisor.pids()), signal.SIGKILL)
    eventually(lambda: supervisor.said("is not ready within 1000 ms: killed"))
    supervisor.deploy(BINARY)
    eventually(supervisor.all_ready, 20)


def test_a_worker_that_retires_is_replaced_before_it_is_gone(supervisor_with, behind_nginx, eventually):
    """It waits for nginx to close its connections, and meanwhile another one accepts."""
    supervisor = supervisor_with({"HOB_WORKERS": "1", "HOB_WORKER_MAX_REQUESTS": "20"})
    before = supervisor.pids()
    client = behind_nginx(supervisor)
    with Load(client) as load:
        eventually(lambda: load.count > 60, 30)
    assert not load.bad
    assert not supervisor.pids() & before
    assert not supervisor.said("CRASH LOOP")


def test_if_the_supervisor_dies_the_workers_finish_and_leave(supervisor, supervisor_with, lock, eventually):
    pids = supervisor.pids()
    with Connection(str(supervisor.socket_path)) as connection:
        eventually(lambda: connection.ask("GET", "/readyz").status == 200)
        held = lock("users")
        connection.send(request("GET", "/api/v1/users"))
        time.sleep(0.3)
        supervisor.signal(signal.SIGKILL)
        supervisor.wait()
        # Its successor need not wait for them, though they still hold its socket.
        second = supervisor_with({"HOB_LISTEN": str(supervisor.socket_path)})
        assert second.alive() and ask(supervisor.socket_path) == 200
        held.release()
        assert connection.read_response().status == 200
    eventually(lambda: not any(map(exists, pids)))


def test_it_never_gives_up(supervisor_with, eventually):
    """All workers loop from the first start on; then what is on disk is mended."""
    supervisor = supervisor_with({"HOB_MOUNT": "no-slash"}, ready=False)
    eventually(lambda: supervisor.said("the 4. quick death in a row"), 20)
    assert supervisor.alive()
    supervisor.signal(signal.SIGTERM)
    assert supervisor.wait() == 0


# ---- Reload ----


def test_a_reload_under_load_loses_no_request(supervisor, behind_nginx):
    before = supervisor.pids()
    client = behind_nginx(supervisor)
    with Load(client) as load:
        for _ in range(2):
            done = supervisor.reload()
            assert done.returncode == 0 and "reloaded" in done.stdout, done
    assert not load.bad and load.count > 20
    assert not supervisor.pids() & before and len(supervisor.pids()) == 2
    assert supervisor.status()["deaths"] == 0


def test_a_reload_takes_the_configuration_on_disk(supervisor_with, eventually):
    supervisor = supervisor_with({"HOB_WORKERS": None})
    supervisor.configuration.write_text("HOB_WORKERS=3\nHOB_MAX_BODY=10\nPGAPPNAME=fresh\n")
    assert supervisor.reload().returncode == 0
    eventually(lambda: len(supervisor.pids()) == 3)
    body = b'{"name":"Ada","email":"ada@example.com"}'
    with Connection(str(supervisor.socket_path)) as connection:
        assert connection.ask("POST", "/api/v1/users", body=body).status == 413
    supervisor.configuration.write_text("HOB_WORKERS=1\n")
    assert supervisor.reload().returncode == 0
    eventually(lambda: len(supervisor.pids()) == 1)
    pid, = supervisor.pids()
    with open(f"/proc/{pid}/environ") as environment:
        assert "PGAPPNAME" not in environment.read()  # what a file said once is not inherited


BROKEN = {
    "a bad configuration": lambda s: s.configuration.write_text(BAD_SETTING),
    "a binary that exits": lambda s: s.deploy_script("exit 5"),
    "a binary that never becomes ready": lambda s: s.deploy_script("exec sleep 600"),
    "no binary": lambda s: s.binary.unlink(),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_reload_that_fails_changes_nothing_and_says_so(supervisor_with, how, eventually):
    supervisor = supervisor_with({"HOB_START_TIMEOUT": "1s"})
    before, generation = supervisor.pids(), supervisor.status()["generation"]
    BROKEN[how](supervisor)
    done = supervisor.reload()
    assert done.returncode == 1 and f"reload failed, generation {generation} goes on" in done.stderr, done
    assert supervisor.said(f"reload failed, generation {generation} goes on")
    eventually(supervisor.all_ready)
    assert supervisor.pids() == before and supervisor.status()["generation"] == generation
    assert ask(supervisor.socket_path) == 200
    supervisor.configuration.write_text("")
    supervisor.deploy(BINARY)
    assert supervisor.reload().returncode == 0
    assert not supervisor.pids() & before


def test_reloads_at_the_same_time_all_end(supervisor):
    reloads = [subprocess.Popen([BINARY, "reload", "--pid-file", supervisor.pid_file], stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, env=stack.base_environment()) for _ in range(4)]
    said = [reload.communicate(timeout=60)[0] for reload in reloads]
    assert [reload.returncode for reload in reloads] == [0] * 4, said
    assert len(supervisor.pids()) == 2


def test_a_symbolic_link_may_be_what_a_deployment_moves(supervisor_with, place, settings):
    supervisor = Supervisor(place, settings | {"HOB_WORKERS": "1"})
    releases = [supervisor.directory / name for name in ("one", "two")]
    for release in releases:
        release.mkdir()
        os.link(supervisor.binary, release / "users-api")
    current = supervisor.directory / "current"
    current.symlink_to("one")
    supervisor.binary = current / "users-api"
    try:
        supervisor.start()
        current.unlink()
        current.symlink_to("two")
        (releases[0] / "users-api").unlink()
        assert supervisor.reload().returncode == 0
        pid, = supervisor.pids()
        assert os.readlink(f"/proc/{pid}/exe") == str(releases[1] / "users-api")
    finally:
        supervisor.stop()


# ---- Stopping ----


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_it_drains(supervisor, sig, lock, eventually):
    pids = supervisor.pids()
    with Connection(str(supervisor.socket_path)) as connection:
        eventually(lambda: connection.ask("GET", "/readyz").status == 200)
        held = lock("users")
        connection.send(request("GET", "/api/v1/users"))
        time.sleep(0.3)
        supervisor.signal(sig)
        time.sleep(0.3)
        assert supervisor.alive()
        held.release()
        assert connection.read_response().status == 200
    assert supervisor.wait() == 0
    assert not any(map(exists, pids)) and not supervisor.socket_path.exists()


@pytest.mark.parametrize("signals", [[signal.SIGTERM] * 2, [signal.SIGINT, signal.SIGTERM], [signal.SIGQUIT]])
def test_it_ends_at_once(supervisor, signals):
    pids = supervisor.pids()
    with Connection(str(supervisor.socket_path)) as connection:
        assert connection.ask().status == 200
        for sig in signals:
            supervisor.signal(sig)
            time.sleep(0.3)
        assert supervisor.wait(5) == 1
    assert supervisor.said("ends at once, and kills 2 workers") or supervisor.said("ends at once, and kills 1 workers")
    assert not any(map(exists, pids)) and not supervisor.socket_path.exists()


def test_the_stop_command_waits(supervisor):
    pids = supervisor.pids()
    done = supervisor.command("stop")
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done
    assert supervisor.wait() == 0 and not any(map(exists, pids))


def test_a_worker_that_does_not_end_is_killed(supervisor_with):
    supervisor = supervisor_with({"HOB_DRAIN_TIMEOUT": "100ms"})
    os.kill(min(supervisor.pids()), signal.SIGSTOP)
    done = supervisor.command("stop")
    assert done.returncode == 1 and "1 workers had to be killed" in done.stderr, done
    assert supervisor.wait() == 1 and supervisor.said("does not end: killed")


def test_commands_without_a_supervisor(supervisor):
    supervisor.signal(signal.SIGKILL)
    supervisor.wait()
    for command in ("reload", "stop"):  # the pid file is still there, and the pid may be another's
        done = supervisor.command(command)
        assert done.returncode == 1 and "does not run" in done.stderr, done
    done = run(BINARY, "reload", "--pid-file", "/nonexistent/pid")
    assert done.returncode == 1 and "/nonexistent/pid" in done.stderr
    assert run(BINARY, "status").returncode == 1
    for wrong in (["reload"], ["stop", "--json", "--pid-file"], ["serve", "--json"], ["status", "x"]):
        assert run(BINARY, *wrong).returncode == 2, wrong


# ---- The other signals ----


def files_of(pid):
    return {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}


def test_logs_are_reopened(supervisor_with, tmp_path, eventually):
    log, rotated = tmp_path / "log", tmp_path / "log.1"
    supervisor = supervisor_with({"HOB_LOG": str(log)})
    workers = supervisor.pids()
    log.rename(rotated)
    assert all(str(rotated) in files_of(pid) for pid in workers | {supervisor.pid})
    supervisor.signal(signal.SIGUSR1)
    eventually(lambda: all(str(log) in files_of(pid) and str(rotated) not in files_of(pid)
                           for pid in workers | {supervisor.pid}))
    assert ask(supervisor.socket_path) == 200 and supervisor.pids() == workers
    written = [json.loads(line) for line in log.read_text().splitlines()]
    assert any(line["pid"] in workers for line in written), written


def test_a_worker_more_and_a_worker_less(supervisor, eventually):
    supervisor.signal(signal.SIGTTIN)
    eventually(lambda: len(supervisor.pids()) == 3)
    assert supervisor.reload().returncode == 0  # which does not take it back
    assert len(supervisor.pids()) == 3
    for left in (2, 1):
        supervisor.signal(signal.SIGTTOU)
        eventually(lambda: len(supervisor.pids()) == left and supervisor.status()["wanted"] == left)
    supervisor.signal(signal.SIGTTOU)
    eventually(lambda: supervisor.said("the number of workers stays at 1"))
    assert ask(supervisor.socket_path) == 200 and supervisor.status()["deaths"] == 0


def test_each_worker_may_have_a_socket_of_its_own(own_sockets, eventually):
    supervisor, path = own_sockets
    assert ask(path(0)) == ask(path(1)) == 200
    assert not os.path.exists(path(2))
    supervisor.signal(signal.SIGTTIN)
    eventually(lambda: os.path.exists(path(2)) and ask(path(2)) == 200)
    assert supervisor.reload().returncode == 0
    assert [ask(path(i)) for i in range(3)] == [200] * 3
    supervisor.signal(signal.SIGTTOU)
    eventually(lambda: not os.path.exists(path(2)))  # the web server must not wait there
    assert len(supervisor.pids()) == 2
    assert supervisor.command("stop").returncode == 0
    assert supervisor.wait() == 0 and not os.path.exists(path(0))


def test_several_sockets_are_dealt_out(supervisor_with, place):
    paths = [str(place.sockets / f"dealt-{i}.sock") for i in range(2)]
    supervisor_with({"HOB_LISTEN": ", ".join(paths), "HOB_WORKERS": "3"})
    assert [ask(path) for path in paths] == [200, 200]


def test_the_state_is_logged(supervisor, eventually):
    pids = supervisor.pids()
    supervisor.signal(signal.SIGUSR2)
    eventually(lambda: supervisor.said("supervisor: 2 of 2 workers ready"))
    eventually(lambda: all(supervisor.said(f"pid {pid}, generation") for pid in pids))


def signals(pid, kind):
    with open(f"/proc/{pid}/status") as status:
        mask = next(int(line.split()[1], 16) for line in status if line.startswith(kind + ":"))
    return {signal.Signals(number) for number in range(1, 32) if mask >> (number - 1) & 1}


def test_workers_inherit_no_file_and_no_blocked_signal(supervisor):
    for pid in supervisor.pids():
        files = files_of(pid)
        assert str(supervisor.pid_file) not in files and "anon_inode:[signalfd]" not in files, files
        assert not signals(pid, "SigBlk") and signals(pid, "SigIgn") <= {signal.SIGPIPE}


# ---- systemd's protocol ----


@pytest.fixture
def notifications(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        path = str(tmp_path / "notify")
        s.bind(path)
        s.settimeout(0.1)
        heard = []

        def hear():
            try:
                while True:
                    heard.extend(s.recv(4096).decode().splitlines())
            except TimeoutError:
                return heard

        hear.path = path
        yield hear


def test_systemd_is_told(supervisor_with, notifications, eventually):
    supervisor = supervisor_with({"NOTIFY_SOCKET": notifications.path, "WATCHDOG_USEC": "400000"})
    eventually(lambda: "READY=1" in notifications())
    eventually(lambda: notifications().count("WATCHDOG=1") >= 3)
    eventually(lambda: any(line.startswith("STATUS=2 of 2 workers ready") for line in notifications()))
    assert supervisor.reload().returncode == 0
    heard = notifications()
    began = heard.index("RELOADING=1")
    assert heard[began + 1].startswith("MONOTONIC_USEC=") and "READY=1" in heard[began:]
    supervisor.signal(signal.SIGTERM)
    assert supervisor.wait() == 0
    assert "STOPPING=1" in notifications()


def test_ready_is_not_said_before_a_worker_is(supervisor_with, notifications, eventually):
    supervisor = supervisor_with({"NOTIFY_SOCKET": notifications.path, "HOB_MOUNT": "no-slash"}, ready=False)
    eventually(lambda: any(line.startswith("STATUS=0 of 2 workers ready") for line in notifications()))
    eventually(lambda: supervisor.said("CRASH LOOP"), 20)
    assert "READY=1" not in notifications()
