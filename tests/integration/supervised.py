"""`users-api serve` for the tests, with a copy of the binary that a test may replace, as a deployment would."""
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import threading
import time

import stack
from conftest import BINARY

counter = itertools.count(1)


def run(*arguments, environment=None, **options):
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "timeout": 90, "text": True} | options
    return subprocess.run(arguments, env=stack.base_environment() | (environment or {}), **options)


def exists(pid):
    """Not even as a zombie that nobody has waited for."""
    with contextlib.suppress(OSError, IndexError):
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    return False


def serving(status):
    return {slot["pid"] for slot in status["slots"] if slot["state"] != "draining"}


class Supervisor(stack.Daemon):
    def __init__(self, place, environment, program=BINARY):
        self.name = f"supervisor-{next(counter):03}"
        super().__init__(place)
        self.directory = place.path / self.name
        self.directory.mkdir()
        self.binary = self.directory / "users-api"
        self.socket_path = place.sockets / f"{self.name}.sock"
        self.pid_file = self.directory / "pid"
        self.configuration = self.directory / "hob.env"
        self.configuration.write_text("")
        self.environment = stack.base_environment() | {
            "HOB_CONFIG": str(self.configuration), "HOB_LISTEN": str(self.socket_path)} | environment
        self.program = program
        self.deploy(program)

    def deploy(self, binary):
        """By rename, so that what runs goes on running."""
        fresh = self.binary.with_name("fresh")
        shutil.copy(binary, fresh)
        fresh.rename(self.binary)

    def deploy_script(self, text):
        fresh = self.binary.with_name("fresh")
        fresh.write_text(f"#!/bin/sh\n{text}\n")
        fresh.chmod(0o755)
        fresh.rename(self.binary)

    def start(self, ready=True, **options):
        self.spawn([self.binary, "serve", "--pid-file", self.pid_file], env=self.environment, **options)
        if ready:
            self.wait_ready(self.all_ready)

    @property
    def pid(self):
        return self.process.pid

    def signal(self, sig):
        os.kill(self.pid, sig)

    def command(self, *arguments):
        """Of the program as built: the one on disk may be a test's."""
        return run(self.program, *arguments, "--pid-file", self.pid_file)

    def reload(self):
        return self.command("reload")

    def status(self):
        done = self.command("status", "--json")
        return json.loads(done.stdout) if done.stdout else None

    def all_ready(self):
        status = self.status()
        return status is not None and 0 < status["wanted"] == status["ready"] == len(serving(status))

    def pids(self):
        """Of the workers that are not draining."""
        return serving(self.status())

    def messages(self):
        return [json.loads(line)["msg"] for line in self.log().splitlines() if line.startswith("{")]

    def said(self, text):
        return any(text in message for message in self.messages())

    def wait(self, seconds=20):
        """The exit status."""
        status = self.process.wait(seconds)
        self.process = None
        return status

    def stop(self):
        if self.process is not None:
            self.signal(signal.SIGQUIT)
            self.wait()


class Load:
    """A client that keeps asking through nginx until the block ends; every answer that is not 200 is in .bad."""

    def __init__(self, client, target="/ping"):
        self.client, self.target = client, target
        self.count, self.bad = 0, []

    def __enter__(self):
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._ask) for _ in range(4)]
        for thread in self.threads:
            thread.start()
        return self

    def _ask(self):
        while not self.over.is_set():
            answer = self.client.get(self.target)
            self.count += 1
            if answer.status != 200:
                self.bad.append(answer)
            time.sleep(0.002)

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()
