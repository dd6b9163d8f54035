"""h2o: conf/h2o/, with workers that it connects to, and with workers that it spawns."""
import json
import os
import shutil
import subprocess

import stack
from conftest import ROOT
from supervised import exists, run

from .base import Server, certificate, shipped

PROGRAM = shutil.which("h2o") or "/usr/bin/h2o"
OUTSIDE = '      "/":\n        mruby.handler-file: {}/hob-not-found.rb\n'


class H2o(Server):
    kind, http2 = "h2o, fastcgi.connect", True
    prevents = {"NUL": "h2o decodes %00 for PATH_INFO, and a worker refuses parameters that hold NUL: h2o answers 503",
                "underscore": "h2o passes names with '_' as those with '-'"}
    how = "users-api-connect.conf"

    def configure(self):
        self.tls_port, self.h2c_port = stack.free_port(), self.port
        self.access_log = self.directory / "access.json"
        certificate(self.directory)
        shutil.copy(ROOT / "conf/h2o/hob-not-found.rb", self.directory)
        self.write("h2o.conf", shipped("h2o/h2o.conf", {
            "user: debian-h2o": "user: root" if os.geteuid() == 0 else "", "/run/h2o.pid": self.directory / "pid",
            "/var/log/h2o/error.log": self.log_path, "/var/log/h2o/users-api.json": self.access_log,
            "temp-buffer-path: /var/tmp": f"temp-buffer-path: {self.directory}",
            "port: 443": f"host: 127.0.0.1\n  port: {self.tls_port}", "port: 8080": f"port: {self.port}",
            "/etc/ssl/users-api": self.directory, "/etc/h2o/users-api-connect.conf": self.directory / self.how,
            '      "/":': f'      "{self.mount or "/"}":'}) + (OUTSIDE.format(self.directory) if self.mount else ""))
        self.write(self.how, shipped(f"h2o/{self.how}", self.changes()))

    def changes(self):
        return {"/run/users-api": self.sockets}

    def command(self):
        return [PROGRAM, "-c", self.directory / "h2o.conf"]

    def check_command(self):
        return [*self.command(), "-t"]

    def version(self):
        return subprocess.run([PROGRAM, "-v"], capture_output=True, text=True).stdout.split()[2]


class H2oSpawn(H2o):
    kind, http2, workers_mode = "h2o, fastcgi.spawn", False, "spawned"
    how = "users-api-spawn.conf"

    def configure(self):
        super().configure()
        settings = self.settings | {"HOB_SCOREBOARD": str(self.directory / "scoreboard"),
                                    "HOB_WORKERS": str(self.worker_count)}
        self.write("hob.env", "".join(f"{name}={value}\n" for name, value in settings.items()))

    def changes(self):
        return {"/etc/users-api": self.directory, "/usr/local/bin/users-api": self.program_copy(),
                "/run/users-api/pid": self.pid_file}

    @property
    def pid_file(self):
        return self.directory / "workers.pid"

    def start(self):
        super().start()
        self.wait_ready(self.all_ready)

    def all_ready(self):
        done = run(self.program, "status", "--json", "--pid-file", self.pid_file)
        status = json.loads(done.stdout) if done.stdout else {"wanted": 0}
        return 0 < status["wanted"] == status["ready"]

    def replace_workers(self):
        fresh = self.directory / "fresh"
        shutil.copy(self.program, fresh)
        fresh.rename(self.program_copy())
        done = run(self.program, "reload", "--pid-file", self.pid_file)
        assert done.returncode == 0, done.stderr

    def stop(self):
        """They end when they notice that h2o is gone."""
        supervisor = int(self.pid_file.read_text()) if self.pid_file.exists() else None
        super().stop()
        if supervisor:
            stack.wait_for(lambda: not exists(supervisor), 30, f"the workers of {self.name}")
