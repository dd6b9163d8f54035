"""lighttpd: conf/lighttpd/."""
import json
import shutil
import subprocess

import stack
from conftest import ROOT
from supervised import run

from .base import Server, certificate, shipped

PROGRAM = shutil.which("lighttpd") or "/usr/sbin/lighttpd"
IPV6 = """\
$SERVER["socket"] == "[::]:443" {
    ssl.engine = "enable"
    extforward.forwarder = ()
}
""", """\
$SERVER["socket"] == "[::]:80" {
    url.redirect = ( "" => "https://${url.authority}${url.path}${qsa}" )
}
"""


class Lighttpd(Server):
    kind, http2 = "lighttpd, mod_fastcgi", True
    workers_file = "users-api-serve.conf"

    def configure(self):
        self.tls_port, self.redirect_port = stack.free_port(), stack.free_port()
        self.h2c_port = self.port
        self.access_log = self.directory / "access.json"
        certificate(self.directory)
        shutil.copy(ROOT / "conf/lighttpd/hob.lua", self.directory)
        self.write("lighttpd.conf", shipped("lighttpd/lighttpd.conf", {
            'server.username = "www-data"\nserver.groupname = "www-data"\n': "",
            'server.errorlog = "/var/log/lighttpd/error.log"\n': "",
            'server.pid-file = "/run/lighttpd.pid"\n': "",
            "/etc/lighttpd": self.directory, "/etc/ssl/users-api": self.directory,
            "/var/www/html": self.directory, "/var/cache/lighttpd/uploads": self.directory,
            "/var/log/lighttpd/users-api.json": self.access_log,
            "server.port = 8080": f"server.port = {self.port}",
            **dict.fromkeys(IPV6, ""),
            "0.0.0.0:443": f"127.0.0.1:{self.tls_port}", "0.0.0.0:80": f"127.0.0.1:{self.redirect_port}",
            "^/(livez": f"^{self.mount}/(livez", "users-api-serve.conf": self.workers_file}))
        self.write(self.workers_file, shipped(f"lighttpd/{self.workers_file}", self.changes()))

    def changes(self):
        """What a reader would change in the file of the workers."""
        return {'"/" =>': f'"{self.mount}/" =>', "/run/users-api/worker.sock": self.sockets / "worker.sock"}

    def install(self, settings):
        """The program, where the web server starts it, and its hob.env."""
        self.program_copy()
        self.write("hob.env", "".join(f"{name}={value}\n" for name, value in settings.items()))

    def deploy(self):
        shutil.copy(self.program, self.directory / "fresh")
        (self.directory / "fresh").rename(self.directory / "users-api")

    def command(self):
        return [PROGRAM, "-D", "-f", self.directory / "lighttpd.conf"]

    def check_command(self):
        return [PROGRAM, "-tt", "-f", self.directory / "lighttpd.conf"]

    def version(self):
        return subprocess.run([PROGRAM, "-v"], capture_output=True, text=True).stdout.split()[0].rpartition("/")[2]


class LighttpdSpawn(Lighttpd):
    """It starts the supervisor, on a socket of its own making."""

    kind, workers_mode, http2 = "lighttpd, starting the service", "spawned", False
    workers_file = "users-api-spawn.conf"

    def configure(self):
        super().configure()
        self.install(self.settings | {"HOB_WORKERS": str(self.worker_count)})

    def changes(self):
        return {'"/" =>': f'"{self.mount}/" =>', "/usr/local/bin": self.directory, "/etc/users-api": self.directory,
                "/run/users-api/lighttpd.sock": self.sockets / "lighttpd.sock", "/run/users-api": self.directory}

    def tell(self, *command):
        return run(self.program, *command, "--pid-file", self.directory / "pid")

    def all_ready(self):
        said = self.tell("status", "--json").stdout
        return said and json.loads(said)["ready"] == self.worker_count

    def start(self):
        super().start()
        self.wait_ready(self.all_ready)

    def replace_workers(self):
        self.deploy()
        done = self.tell("reload")
        assert done.returncode == 0, done.stderr

    def stop(self):
        """lighttpd does not wait for what it has started."""
        super().stop()
        stack.wait_for(lambda: not (self.directory / "pid").exists(), 30, "the end of the service")


class LighttpdCgi(Lighttpd):
    kind, workers_mode, http2 = "CGI, lighttpd", "cgi", False
    workers_file = "users-api-cgi.conf"

    def configure(self):
        super().configure()
        self.install(self.settings)

    def changes(self):
        return {'"/" =>': f'"{self.mount}/" =>', "/usr/lib/cgi-bin": self.directory, "/etc/users-api": self.directory,
                "/run/users-api": self.directory}

    def replace_workers(self):
        self.deploy()
        for _ in range(10):
            assert self.client.get(f"{self.mount}/ping").status == 200


class LighttpdCgiFcgi(Lighttpd):
    """CGI to FastCGI by cgi-fcgi (libfcgi-bin)."""

    kind, http2 = "cgi-fcgi, lighttpd", False
    workers_file = "users-api-cgi-fcgi.conf"

    def configure(self):
        super().configure()
        self.write("users-api", shipped("cgi/users-api", {"/run/users-api": self.sockets}))
        (self.directory / "users-api").chmod(0o755)

    def changes(self):
        return {'"/" =>': f'"{self.mount}/" =>', "/usr/lib/cgi-bin": self.directory}
