"""conf/apache/ with a real Apache: users-api under mod_fcgid, behind mod_proxy_fcgi, and as plain CGI."""
import concurrent.futures
import itertools
import json
import os
import shutil
import signal
import socket

import pytest
import stack
from conftest import BINARY, ROOT, Client, Lock
from supervised import exists, run

PROGRAM = shutil.which("apache2") or "/usr/sbin/apache2"
USERS = "/api/v1/users"
SHIPPED = (ROOT / "conf/apache/mod_fcgid.conf").read_text()
counter = itertools.count(1)
BASE = """
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
ServerName localhost
Listen 127.0.0.1:@PORT@
PidFile pid
DefaultRuntimeDir @DIRECTORY@
ErrorLog @LOG@
DocumentRoot @DIRECTORY@
<Directory "/">
    Require all denied
</Directory>
"""
FCGID = """
LoadModule fcgid_module /usr/lib/apache2/modules/mod_fcgid.so
FcgidIPCDir @SOCKETS@
FcgidProcessTableFile @DIRECTORY@/processes
"""
PROXY = """
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_fcgi_module /usr/lib/apache2/modules/mod_proxy_fcgi.so
"""
CGI = """
LoadModule cgid_module /usr/lib/apache2/modules/mod_cgid.so
LoadModule env_module /usr/lib/apache2/modules/mod_env.so
ScriptSock @SOCKETS@/cgid
ScriptAlias "/" "@DIRECTORY@/users-api/"
SetEnv HOB_CONFIG @DIRECTORY@/hob.env
<Location "/">
    Require all granted
</Location>
"""


def mounted(text):
    """As the file itself says how to."""
    for root, app in (('"/" "/usr/local/bin/users-api/"', '"/app" "/usr/local/bin/users-api"'),
                      ('<Location "/">', '<Location "/app">')):
        assert text.count(root) == 2 and text.count(app) == 1, (root, app)  # said in the comment, and done
        text = text.replace(root, app)
    return text


def not_as_root(account):
    """Apache does not serve as root. Our directories let only us in, so it keeps what it takes to enter them; and it
    still ends with us."""
    if not account:
        return []
    return ["setpriv", "--reuid", str(account[0]), "--regid", str(account[1]), "--clear-groups",
            "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override", "--pdeathsig", "TERM", "--"]


class Apache(stack.Daemon):
    def __init__(self, place, settings, configuration):
        self.name = f"apache-{next(counter):03}"
        super().__init__(place)
        self.client = Client(stack.free_port())
        self.account = stack.unprivileged(place.path / "postgresql")
        self.directory, self.sockets = place.path / f"{self.name}.d", place.sockets / self.name
        for made in (self.directory, self.sockets):
            made.mkdir()
            if self.account:
                os.chown(made, *self.account)
        self.scoreboard = self.directory / "scoreboard"
        shutil.copy(BINARY, self.directory / "users-api")
        (self.directory / "hob.env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        (self.directory / "apache.conf").write_text(self._with_our_paths(BASE + configuration))

    def _with_our_paths(self, text):
        for theirs, ours in (("@PORT@", self.client.port), ("@LOG@", self.log_path), ("@SOCKETS@", self.sockets),
                             ("@DIRECTORY@", self.directory), ("/usr/local/bin", self.directory),
                             ("/etc/users-api", self.directory), ("/run/users-api", self.directory)):
            text = text.replace(theirs, str(ours))
        return text

    def start(self):
        self.spawn([*not_as_root(self.account), PROGRAM, "-d", self.directory, "-f", "apache.conf", "-DFOREGROUND"])
        self.wait_ready(lambda: stack.accepts(socket.AF_INET, ("127.0.0.1", self.client.port)))

    def slots(self):
        done = run(BINARY, "status", "--json", environment={"HOB_SCOREBOARD": str(self.scoreboard)})
        return json.loads(done.stdout)["slots"] if done.stdout else []


@pytest.fixture(scope="module")
def apache_with(place, settings):
    """apache_with(configuration, **settings): stopped, with its workers, at the end of this file's tests."""
    started = []

    def start(configuration, **overrides):
        apache = Apache(place, settings | overrides, configuration)
        started.append(apache)
        apache.start()
        return apache

    yield start
    for apache in started:
        apache.stop()


@pytest.fixture(scope="module")
def apache(apache_with):
    return apache_with(FCGID + SHIPPED, HOB_DB_LOCK_TIMEOUT="10s")


@pytest.fixture(scope="module")
def client(apache):
    stack.wait_ready(apache.client.port)
    return apache.client


# ---- mod_fcgid ----


def test_probes(client):
    assert client.get("/ping").body == b'{"message":"pong"}'
    assert client.get("/readyz").json == {"status": "ready", "database": "up", "cache": "up"}
    head = client.request("HEAD", "/ping")
    assert (head.status, head.body) == (200, b"")


def test_users(client):
    created = client.post(USERS, {"name": "Ada", "email": "ada@apache.example"})
    assert created.status == 201, created
    path = created.headers["Location"]
    assert path == f"{USERS}/{created.json['id']}"
    got = client.get(path)
    assert got.json == created.json and got.headers["X-Request-ID"]
    assert client.patch(path, {"name": "Eve"}).json["name"] == "Eve"
    assert client.get(path).json["name"] == "Eve"
    client.new_user()
    assert client.get(f"{USERS}?limit=1").headers["Link"].startswith(f"<{USERS}?")
    assert client.delete(path).status == 204
    assert client.get(path).status == 404


def test_problems_are_the_application_s(client, problem):
    problem(client.get("/nonsense"), 404)
    problem(client.get(f"{USERS}/a%2Fb"), 404)
    problem(client.get(f"/{'x' * 300}"), 404)
    wrong = client.delete(USERS)
    problem(wrong, 405)
    assert "POST" in wrong.headers["Allow"]
    problem(client.post(USERS, {"name": ""}), 422)
    problem(client.post(USERS, body=b"{", headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize("size, declared", [(1024 * 1024 + 1, True), (3 * 1024 * 1024, True), (3 * 1024 * 1024, False)])
def test_a_body_too_large(client, problem, size, declared):
    body = b" " * size
    body = body if declared else iter([body])  # chunked
    problem(client.post(USERS, body=body, headers={"Content-Type": "application/json"}), 413)


def test_a_chunked_body(client):
    body = [b'{"name":"Ada",', b'"email":"chunked@apache.example"}']
    assert client.post(USERS, body=iter(body), headers={"Content-Type": "application/json"}).status == 201


def test_one_scoreboard_for_all_workers(apache, client, database, eventually):
    """Held up by a lock, three requests need three workers."""
    lock = Lock(database, "users")
    try:
        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            answers = [threads.submit(client.get, f"{USERS}?limit={n}") for n in range(1, 4)]
            try:
                eventually(lambda: sum(slot["in_flight"] for slot in apache.slots()) == 3)
            finally:
                lock.release()
            assert [answer.result().status for answer in answers] == [200, 200, 200]
    finally:
        lock.release()
    slots = apache.slots()
    assert len({slot["pid"] for slot in slots}) == len(slots) >= 3 and all(exists(slot["pid"]) for slot in slots)


def test_a_binary_replaced_by_rename_serves_new_requests(apache, client):
    before = {slot["pid"] for slot in apache.slots()}
    shutil.copy(BINARY, apache.directory / "fresh")
    (apache.directory / "fresh").rename(apache.directory / "users-api")
    assert client.get("/ping").status == 200
    assert {slot["pid"] for slot in apache.slots()} > before


def test_a_graceful_restart_answers_what_is_in_flight(apache, client, database, eventually):
    """mod_fcgid takes up to two seconds to begin with it, sends SIGTERM twice, and SIGKILL after eight seconds."""
    lock = Lock(database, "users")
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        try:
            answer = threads.submit(client.get, USERS)
            eventually(lambda: any(slot["in_flight"] for slot in apache.slots()))
            before = {slot["pid"] for slot in apache.slots()}
            apache.process.send_signal(signal.SIGUSR1)
            eventually(lambda: any(slot["state"] == "draining" for slot in apache.slots()))
            assert not concurrent.futures.wait([answer], timeout=1.3).done  # the second SIGTERM has come, too
        finally:
            lock.release()
        assert answer.result().status == 200
    eventually(lambda: not any(map(exists, before)))
    assert client.get(USERS).status == 200  # though a worker has yet to be started for it, and to connect


def test_mounted_below_a_prefix(apache_with, problem):
    client = apache_with(FCGID + mounted(SHIPPED), HOB_MOUNT="/app").client
    assert client.get("/app/ping").status == 200
    created = client.post(f"/app{USERS}", {"name": "Ada", "email": "ada@mounted.example"})
    assert created.status == 201, created
    assert created.headers["Location"] == f"/app{USERS}/{created.json['id']}"
    assert client.get(created.headers["Location"]).json == created.json
    client.post(f"/app{USERS}", {"name": "Eve", "email": "eve@mounted.example"})
    link = client.get(f"/app{USERS}?limit=1").headers["Link"]
    assert link.startswith(f"</app{USERS}?")
    assert client.get(link[1:link.index(">")]).status == 200
    problem(client.get("/app/nonsense"), 404)
    assert client.get("/ping").headers["Content-Type"] != "application/json"  # Apache's own 404 or 403


# ---- mod_proxy_fcgi ----


@pytest.mark.parametrize("mount", ["", "/app"])
def test_behind_mod_proxy_fcgi(apache_with, worker_with, problem, mount):
    worker = worker_with({"HOB_MOUNT": mount or None})
    shipped = (ROOT / "conf/apache/mod_proxy_fcgi.conf").read_text().replace(
        "/run/users-api/worker.sock", worker.socket_path).replace('ProxyPass "/"', f'ProxyPass "{mount}/"')
    client = apache_with(PROXY + shipped).client
    users = mount + USERS
    created = client.post(users, {"name": "Ada", "email": f"ada@proxied{len(mount)}.example"})
    assert created.status == 201, created
    assert created.headers["Location"] == f"{users}/{created.json['id']}"
    assert client.get(created.headers["Location"]).json == created.json
    problem(client.get(f"{users}/a%2Fb"), 404)
    problem(client.delete(users), 405)
    problem(client.post(users, body=b" " * 3000000, headers={"Content-Type": "application/json"}), 413)


# ---- CGI ----


def test_plain_cgi(apache_with, problem):
    client = apache_with(CGI).client
    assert client.get("/ping").body == b'{"message":"pong"}'
    created = client.post(USERS, {"name": "Ada", "email": "ada@cgi.example"})
    assert created.status == 201, created
    assert client.get(created.headers["Location"]).json == created.json
    problem(client.delete(USERS), 405)
