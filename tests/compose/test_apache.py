"""The profile apache: mod_fcgid starts the workers."""
import time

import pytest
from hardening import assert_hardened, assert_logs_are_json, assert_no_secret_shows
from load import Connection, Load, ended


@pytest.fixture(scope="module")
def project(behind_apache):
    return behind_apache


def test_it_answers_under_load(project):
    assert Connection(project.port).request("GET", "/readyz") == (
        200, {"status": "ready", "database": "up", "cache": "up"})
    with ended(Load(project.port, pause=0.01), project) as load:
        time.sleep(3)
    assert not load.failed() and not load.stale, load.summary()


def test_every_container_is_hardened(project):
    assert_hardened(project)


def test_no_secret_shows(project):
    assert_no_secret_shows(project)


def test_logs_are_json_on_stdout(project):
    Connection(project.port).request("GET", '/a"b')
    assert_logs_are_json(project, "apache")
