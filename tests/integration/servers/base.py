"""A web server with the configuration that conf/ ships, in front of one program of libhob."""
import http.client
import itertools
import json
import os
import re
import shutil
import signal
import subprocess

import stack
from conftest import BINARY, ROOT, Client
from supervised import Supervisor

counter = itertools.count(1)


def shipped(path, changes):
    """A file of conf/ with what a reader of it would change, too; each change must have something to change."""
    text = (ROOT / "conf" / path).read_text()
    for theirs, ours in changes.items():
        assert theirs in text, f"{path} has no {theirs!r}"
        text = text.replace(theirs, str(ours))
    return text


class Server(stack.Daemon):
    """One that connects to workers of `users-api serve`. A subclass says what it is called, writes its configuration and
    gives its commands."""

    kind = "?"  # what the table in the README calls it
    workers_mode = "serve"  # or "spawned", by the web server; or "cgi": a process a request
    prevents = {}  # what the server itself keeps from the application, by topic of test_suite.py: why
    worker_count = 2
    http2 = False  # whether there are a tls_port and an h2c_port

    def __init__(self, place, settings, program=BINARY, mount=""):
        number = f"front-{next(counter):03}"
        self.name = f"{number}-{re.sub('[ ,]+', '-', self.kind)}"
        super().__init__(place)
        self.mount, self.program = mount, program
        self.settings = settings | ({"HOB_MOUNT": mount} if mount else {})
        self.directory, self.sockets = place.path / f"{self.name}.d", place.sockets / number
        for made in (self.directory, self.sockets):
            made.mkdir()
        self.port = stack.free_port()
        self.client = Client(self.port)
        self.workers = None
        if self.workers_mode == "serve":
            self.workers = Supervisor(place, self.settings | self.listening(), program)

    def listening(self):
        """The settings of the workers that the configuration asks for."""
        return {"HOB_LISTEN": str(self.sockets / "worker.sock"), "HOB_WORKERS": str(self.worker_count)}

    def configure(self):
        """Writes the configuration into self.directory."""
        raise NotImplementedError

    def command(self):
        """Runs the server in the foreground."""
        raise NotImplementedError

    def check_command(self):
        """Says with its status whether the configuration is good."""
        raise NotImplementedError

    def version(self):
        raise NotImplementedError

    def write(self, name, text):
        (self.directory / name).write_text(text)

    def program_copy(self):
        """The program as a deployment has it: its own file, which a newer one replaces by rename."""
        installed = self.directory / "users-api"
        if not installed.exists():
            shutil.copy(self.program, installed)
        return installed

    def start(self):
        if self.workers:
            self.workers.start()
        self.configure()
        self.spawn(self.command())
        self.wait_ready(lambda: stack.accepts(stack.socket.AF_INET, ("127.0.0.1", self.port)))

    def check(self):
        """(status, what it said) of the server's own check of its configuration."""
        done = subprocess.run([os.fspath(a) for a in self.check_command()], cwd=self.directory, timeout=30,
                              env=stack.base_environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout + done.stderr

    def replace_workers(self):
        """As a deployment would, under load; comes back when all are new."""
        done = self.workers.reload()
        assert done.returncode == 0, done.stderr

    def stop(self):
        super().stop()
        if self.workers:
            self.workers.stop()


def certificate(directory):
    """(certificate, key) for localhost, made once a directory."""
    pair = directory / "fullchain.pem", directory / "privkey.pem"
    if not pair[0].exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-out", pair[0], "-keyout", pair[1]], check=True, capture_output=True)
    return pair


def logged(front, eventually, request_id):
    """The line about it in the server's own JSON log."""
    def line():
        lines = map(json.loads, front.access_log.read_text().splitlines()) if front.access_log.exists() else ()
        return next((line for line in lines if line["request_id"] == request_id), None)

    return eventually(line)


def killed_meanwhile(front, eventually, method):
    """(status, body) that the server gives when its one worker is killed while it has the request. Another worker is
    there at once, and must not be asked again."""
    victim, = front.workers.pids()
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=20)
    connection.request(method, "/wait/10000", body=b"" if method == "POST" else None)
    eventually(lambda: any(slot["in_flight"] for slot in front.workers.status()["slots"]))
    os.kill(victim, signal.SIGKILL)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    eventually(front.workers.all_ready)
    assert sum(slot["requests"] + slot["in_flight"] for slot in front.workers.status()["slots"]) == 0
    return answer.status, body
