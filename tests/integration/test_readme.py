"""The README says what is true: its table of settings, its commands, and the session with curl."""
import re
import subprocess

import pytest

import stack
from conftest import BINARY, ROOT

README = (ROOT / "README.md").read_text()


def block(name):
    return re.search(rf"<!-- {name} -->\n(.*)<!-- /{name} -->", README, re.DOTALL)[1]


def run(*arguments, **environment):
    """At no terminal, and as no web server would start it."""
    return subprocess.run([BINARY, *arguments], env=stack.base_environment() | environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=30)


def settings_table():
    return run("--config-table").stdout


def settings():
    """Name, default and meaning of each."""
    for line in settings_table().splitlines()[2:]:
        yield [cell.strip().strip("`") for cell in line.split("|")[1:-1]]


def test_table_of_settings():
    assert block("config") == settings_table()


def test_help_shows_every_setting():
    helped = run("--help")
    assert helped.returncode == 0
    for name, default, meaning in settings():
        line = next((line for line in helped.stdout.splitlines() if line.split()[:1] == [name]), None)
        assert line and line.endswith(meaning) and (not default or line.split()[1] == default), (name, line)


def test_print_config_shows_defaults_and_hides_secrets():
    shown = run("--print-config", DATABASE_URL="postgresql://someone:secret@db/x", HOB_MAX_BODY="64KiB")
    assert shown.returncode == 0, shown.stderr
    values = dict(line.split("=", 1) for line in shown.stdout.splitlines())
    for name, default, _ in settings():
        assert name in values
        if name not in ("DATABASE_URL", "HOB_MAX_BODY"):
            assert values[name] == default
    assert values["HOB_MAX_BODY"] == "64KiB"
    assert values["DATABASE_URL"] == "********" and "secret" not in shown.stdout + shown.stderr


@pytest.mark.parametrize("name, value", [("HOB_UNKNOWN", "1"), ("HOB_MAX_BODY", "much"), ("HOB_DB_MAX_OPEN", "0"),
                                         ("HOB_REQUEST_TIMEOUT", "15"), ("HOB_LOG_LEVEL", "loud")])
def test_a_bad_setting_is_one_clear_line(name, value):
    refused = run("--print-config", **{name: value})
    assert (refused.returncode, refused.stdout) == (1, "")
    lines = refused.stderr.strip().splitlines()
    assert len(lines) == 1 and name in lines[0], refused.stderr
    checked = run("--check", **{name: value})
    assert checked.returncode == 1
    assert name in checked.stdout


def test_a_worker_refuses_it_too(worker_with, eventually):
    worker = worker_with({"HOB_UNKNOWN": "1"})
    eventually(lambda: not worker.alive())
    assert worker.stop() != 0
    assert "HOB_UNKNOWN" in worker.log()


def test_routes():
    listed = run("routes")
    assert listed.returncode == 0
    routes = {tuple(line.split()[:2]) for line in listed.stdout.splitlines()}
    assert {("GET", "/ping"), ("GET", "/readyz"), ("PATCH", "/api/v1/users/{id:int}"),
            ("POST", "/api/v1/users/{id:int}/orders"), ("GET", "/api/v1/orders/{id:int}")} <= routes


def test_check(database):
    good = run("--check", DATABASE_URL=database.url)
    assert good.returncode == 0, good.stderr
    bad = run("--check", DATABASE_URL="postgresql://someone:secret@/x?host=/nonexistent")
    assert bad.returncode != 0
    assert "secret" not in bad.stdout + bad.stderr


def test_version():
    assert re.search(r"\d+\.\d+\.\d+", run("--version").stdout)


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["--nonsense"]])
def test_anything_else_prints_the_help(arguments):
    refused = run(*arguments)
    assert refused.returncode == 2
    assert "migrate" in refused.stdout + refused.stderr


def test_migrate_applies_each_file_once(database, tmp_path):
    (tmp_path / "001_a.sql").write_text("CREATE TABLE migrated_once (n int); INSERT INTO migrated_once VALUES (1);")
    for _ in range(2):
        done = run("migrate", str(tmp_path), DATABASE_URL=database.url)
        assert done.returncode == 0, done.stderr
    (tmp_path / "002_b.sql").write_text("INSERT INTO migrated_once VALUES (2); SELECT no_such_function();")
    assert run("migrate", str(tmp_path), DATABASE_URL=database.url).returncode != 0
    assert database.execute("SELECT n FROM migrated_once") == [(1,)]  # a file is applied whole or not at all


def test_targets_of_make():
    """What the README tells to type exists."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = set(re.findall(r"(?:`|^ +)make ([a-z-]+)", README, re.MULTILINE))
    assert told and told <= targets
