"""docker-compose.yml, up under a name of its own and at a free port; what is done to its containers from outside."""
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAME = "users-api-test-" + hashlib.sha256(os.fsencode(ROOT)).hexdigest()[:8]
COMPOSE = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]


class Failure(Exception):
    """What went wrong, with what the program said."""


def docker(*arguments):
    return run("docker", *arguments).strip()


@contextlib.contextmanager
def between(harm, mend):
    """Two commands of docker, the second whatever happens."""
    docker(*harm)
    try:
        yield
    finally:
        docker(*mend)


def run(*command, **options):
    done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def logs(container):
    """What it wrote to stdout and stderr."""
    return run("sh", "-c", 'docker logs "$0" 2>&1', container)


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Failure(f"{what}: not within {seconds} s")
        time.sleep(0.1)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Project:
    """One at a time in a checkout: what a killed run has left behind goes by the same name, and is removed."""

    def __init__(self, images, profile):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = os.environ | images | {
            "COMPOSE_PROJECT_NAME": NAME, "COMPOSE_PROFILES": profile, "HOB_PORT": f"127.0.0.1:{self.port}",
            "HOB_CACHE_TTL": "5s", "APP_IMAGE": f"{NAME}-app", "APACHE_IMAGE": f"{NAME}-apache", "DOCKER_BUILDKIT": "0"}

    def compose(self, *arguments):
        return run(*COMPOSE, *arguments, cwd=ROOT, env=self.environment)

    @contextlib.contextmanager
    def running(self):
        with open(pathlib.Path(tempfile.gettempdir(), f"{NAME}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.remove()
            try:
                self.compose("up", "-d")
                self.wait_healthy()
                yield self
            finally:
                self.remove()

    def remove(self):
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")

    def build(self):
        self.compose("build", "--force-rm")

    def scale(self, count):
        self.compose("up", "-d", "--no-recreate", "--scale", f"app={count}")

    # ---- Looking ----

    def containers(self, service=None):
        """Also one that has ended."""
        labels = [f"project={NAME}"] + ([f"service={service}"] if service else [])
        filters = [f"--filter=label=com.docker.compose.{label}" for label in labels]
        return docker("ps", "--all", "--quiet", "--no-trunc", *filters).split()

    def container(self, service):
        container, = self.containers(service)
        return container

    def inspect(self, *containers):
        return json.loads(docker("inspect", *containers))

    def by_service(self):
        """All containers, inspected: (service, what is known)."""
        return [(c["Config"]["Labels"]["com.docker.compose.service"], c) for c in self.inspect(*self.containers())]

    def unhealthy(self):
        """(service, id, state) of those that are neither healthy nor at their end with success."""
        states = [(service, c["Id"], c["State"]) for service, c in self.by_service()]
        return [(service, id, state) for service, id, state in states if not (
            state["Health"]["Status"] == "healthy" if state["Running"] else state["ExitCode"] == 0)]

    def wait_healthy(self, seconds=60):
        try:
            wait_for(lambda: not self.unhealthy(), seconds, "all services healthy")
        except Failure as failure:
            said = [f"{service}: {state}\n{logs(id)[-2000:]}" for service, id, state in self.unhealthy()]
            raise Failure("\n".join([str(failure), *said])) from None

    def rows(self, sql):
        text = docker("exec", self.container("database"), "psql", "-XAtF|", "-v", "ON_ERROR_STOP=1", "-U", "users_api",
                      "-c", sql)
        return [tuple(line.split("|")) for line in text.splitlines()]

    # ---- Harm ----

    def crash(self, container):
        """As the kernel would: `docker kill` would be an order to stay down."""
        pid = self.inspect(container)[0]["State"]["Pid"]
        docker("run", "--rm", "--network=none", "--pid=host", "--user=0", self.environment["BASE_IMAGE"],
               "sh", "-c", f"kill -KILL {pid}")

    def down(self, container):
        return between(("stop", container), ("start", container))

    def compose_restart(self, service):
        self.compose("restart", "--timeout", "30", service)

    def paused(self, container):
        return between(("pause", container), ("unpause", container))

    def cut_off(self, service, container, network):
        network = f"{NAME}_{network}"
        return between(("network", "disconnect", network, container),
                       ("network", "connect", "--alias", service, network, container))
