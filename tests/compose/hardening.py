"""What must hold of every container, as the engine and the kernel see it."""
import json
import pathlib
import subprocess

from project import docker, logs


def assert_hardened(project):
    for service, inspected in project.by_service():
        assert_configured(service, inspected)
        if inspected["State"]["Running"]:
            assert_powerless(service, inspected)
        else:
            assert inspected["State"]["ExitCode"] == 0, service


def assert_configured(service, inspected):
    host, config = inspected["HostConfig"], inspected["Config"]
    assert config["Healthcheck"]["Test"], service
    assert config["User"].split(":")[0] not in ("", "0", "root"), service
    assert host["ReadonlyRootfs"] and not host["Privileged"], service
    assert host["CapDrop"] == ["ALL"] and not host["CapAdd"], service
    assert "no-new-privileges:true" in host["SecurityOpt"], service
    assert 0 < host["Memory"] <= 512 * 2**20 and host["PidsLimit"] > 0, service


def assert_powerless(service, inspected):
    status = pathlib.Path("/proc", str(inspected["State"]["Pid"]), "status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert "0" not in fields["Uid"].split(), service
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 0 and fields["NoNewPrivs"] == "1", service


def assert_no_secret_shows(project):
    password = docker("exec", project.container("database"), "cat", "/run/secrets/database_password")
    assert len(password) >= 32
    for service, inspected in project.by_service():
        assert password not in json.dumps(inspected) + logs(inspected["Id"]), service


def assert_logs_are_json(project, service):
    for container in project.containers(service):
        lines = subprocess.run(["docker", "logs", container], capture_output=True, text=True).stdout.splitlines()
        assert lines, f"{service} writes nothing to stdout"
        for line in lines:
            assert isinstance(json.loads(line), dict), line
