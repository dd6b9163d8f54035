"""The profile nginx: what came up, the integration suite through it, and what befalls containers under load."""
import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest
from hardening import assert_hardened, assert_logs_are_json, assert_no_secret_shows
from load import Load, ended
from project import NAME, ROOT, docker, run

RECOVERY_S = 10


@pytest.fixture(scope="module")
def project(behind_nginx):
    return behind_nginx


@pytest.fixture(autouse=True)
def all_well(project):
    """Every test leaves it as it came up."""
    yield
    project.wait_healthy()
    if len(project.containers("app")) != 2:
        project.scale(2)
        project.wait_healthy()


def get(project, path):
    with urllib.request.urlopen(project.url + path, timeout=10) as answer:
        return json.load(answer)


@contextlib.contextmanager
def load_on(project, **options):
    with ended(Load(project.port, **options), project) as load:
        load.wait_for_success(RECOVERY_S)
        yield load


# ---- What came up ----


def test_it_answers(project):
    assert get(project, "/readyz") == {"status": "ready", "database": "up", "cache": "up"}
    assert len(project.containers("app")) == 2


def test_demo_data_is_loaded_once(project):
    project.compose("up", "-d")
    assert project.rows("SELECT count(*) FROM users") == [("1000",)]


def test_every_container_is_hardened(project):
    assert_hardened(project)


def test_no_secret_shows(project):
    assert_no_secret_shows(project)


def test_logs_are_json_on_stdout(project):
    get(project, "/api/v1/users/1?q=%22\\")
    for service in ("app", "nginx"):
        assert_logs_are_json(project, service)


def test_only_the_front_is_published_and_only_workers_reach_the_database(project):
    networks, published = {}, set()
    for service, inspected in project.by_service():
        settings = inspected["NetworkSettings"]
        networks[service] = {name.removeprefix(f"{NAME}_") for name in settings["Networks"]}
        published |= {service for ports in (settings["Ports"] or {}).values() if ports}
    assert published == {"nginx"}
    assert networks["database"] == networks["cache"] == {"back"}
    assert networks["app"] == {"front", "back"} and networks["nginx"] == {"edge", "front"}


def test_stop_is_patient(project):
    inspected = project.inspect(project.containers("app")[0])[0]["Config"]
    drain = dict(v.split("=", 1) for v in inspected["Env"])["HOB_DRAIN_TIMEOUT"]
    assert inspected["StopTimeout"] > int(drain.removesuffix("s")) + 5


def test_image_holds_only_what_runs(project):
    image = docker("image", "inspect", "-f", "{{.Size}}", project.environment["APP_IMAGE"])
    assert int(image) < 40_000_000
    files = run("sh", "-c", f"docker export {project.containers('app')[0]} | tar -t").split()
    programs = [file for file in files if "/bin/" in file or "/sbin/" in file]
    assert [file for file in programs if not file.endswith("/")] == ["usr/local/bin/users-api"]


def test_integration_suite(project):
    done = subprocess.run([sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider",
                           "tests/integration/servers"], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, env=os.environ | {"HOB_SUITE_URL": project.url})
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    print(done.stdout.splitlines()[-1])


# ---- More workers and fewer ----


def test_scaling_under_load_fails_no_request(project):
    project.scale(1)
    with load_on(project, pause=0) as load:
        begin = time.monotonic()
        for count in (4, 1):
            project.scale(count)
            assert len(project.containers("app")) == count
            time.sleep(2)
        print(load.summary(begin))
        assert not load.failed(begin), load.summary(begin)
    assert_stale_no_longer_than_ttl(load)


# ---- Faults ----


def assert_stale_no_longer_than_ttl(load):
    """Containers cannot tell each other what the cache has missed. TTL 5 s, jitter a tenth, memcached's clock 1 s."""
    assert not [age for age, *_ in load.stale if age > 5 * 1.1 + 1], load.stale


def strike(project, harm, *arguments, seconds=0, recovery=RECOVERY_S):
    """Under load: the harm, and how soon all is well again."""
    with load_on(project) as load:
        begin = time.monotonic()
        with contextlib.ExitStack() as fault:
            result = harm(*arguments)
            if result is not None:
                fault.enter_context(result)
            time.sleep(seconds)
        took = load.wait_for_success(recovery)
        print(f"well after {took:.1f} s; {load.summary(begin)}")
    return load


def test_app_crashes(project):
    load = strike(project, project.crash, project.containers("app")[0])
    assert_stale_no_longer_than_ttl(load)


def test_app_restarts(project):
    assert_stale_no_longer_than_ttl(strike(project, project.compose_restart, "app"))


@pytest.mark.parametrize("service", ["database", "cache"])
def test_crash(project, service):
    assert_stale_no_longer_than_ttl(strike(project, project.crash, project.container(service)))


@pytest.mark.parametrize("service", ["database", "cache"])
def test_restart(project, service):
    assert_stale_no_longer_than_ttl(strike(project, project.compose_restart, service))


@pytest.mark.parametrize("service", ["database", "cache"])
def test_is_down_for_a_while(project, service):
    """A look-up of its name has no answer meanwhile, for up to 10 s: Docker's name server is silent about it."""
    load = strike(project, project.down, project.container(service), seconds=2, recovery=5)
    assert_stale_no_longer_than_ttl(load)


@pytest.mark.parametrize("service", ["database", "cache"])
def test_freeze(project, service):
    assert_stale_no_longer_than_ttl(strike(project, project.paused, project.container(service), seconds=3))


@pytest.mark.parametrize("service", ["database", "cache"])
def test_cut_off_from_all(project, service):
    load = strike(project, project.cut_off, service, project.container(service), "back", seconds=3)
    assert_stale_no_longer_than_ttl(load)


@pytest.mark.parametrize("network", ["front", "back"])
def test_one_of_two_is_cut_off(project, network):
    load = strike(project, project.cut_off, "app", project.containers("app")[0], network, seconds=3)
    assert_stale_no_longer_than_ttl(load)


@pytest.mark.parametrize("harm", ["paused", "cut_off"])
def test_nothing_is_stale_within_one_container(project, harm):
    """Its workers tell each other."""
    project.scale(1)
    cache = project.container("cache")
    arguments = ("cache", cache, "back") if harm == "cut_off" else (cache,)
    load = strike(project, getattr(project, harm), *arguments, seconds=2)
    assert not load.stale
