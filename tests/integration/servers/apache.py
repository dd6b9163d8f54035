"""Apache: conf/apache/, and each of the modules by which it reaches the workers."""
import json
import os
import re
import shutil
import signal
import subprocess

import stack
from supervised import run

from .base import Server, certificate, shipped

PROGRAM = shutil.which("apache2") or "/usr/sbin/apache2"
MODULES = ["mpm_event", "authz_core", "authz_host", "alias", "deflate", "env", "filter", "headers", "http2", "remoteip",
           "reqtimeout", "setenvif", "socache_shmcb", "ssl", "unique_id"]
MAIN = """
ServerName localhost
PidFile pid
DefaultRuntimeDir {directory}
Define APACHE_RUN_DIR {directory}
Define APACHE_LOG_DIR {directory}
ErrorLog {log}
<Directory "/">
    Require all denied
</Directory>
<Directory {directory}/www>
    Require all granted
</Directory>
"""


def not_as_root(account):
    """Apache does not serve as root. Our directories let only us in, so it keeps what it takes to enter them; and it
    still ends with us."""
    if not account:
        return []
    return ["setpriv", "--reuid", str(account[0]), "--regid", str(account[1]), "--clear-groups",
            "--inh-caps", "+dac_override", "--ambient-caps", "+dac_override", "--pdeathsig", "TERM", "--"]


class Apache(Server):
    module = "?"
    prevents = {"NUL": "Apache itself answers 404 to %00, before any module sees the path (ap_unescape_url)"}

    def configure(self):
        self.redirect_port, self.tls_port = stack.free_port(), stack.free_port()
        self.h2c_port = self.port
        self.access_log = self.directory / "users-api.json"
        self.account = stack.unprivileged(self.place.path / "postgresql")
        for ours in (self.directory, self.sockets):
            if self.account:
                os.chown(ours, *self.account)
        certificate(self.directory)
        for name in ("conf", "www"):
            (self.directory / name).mkdir(exist_ok=True)
        self.write("conf/hob-problems.conf", shipped("apache/hob-problems.conf", {}))
        self.write("conf/users-api-server.conf", shipped("apache/users-api-server.conf", {
            "Include users-api/hob-problems.conf": "Include conf/hob-problems.conf",
            "Include users-api/mod_proxy_fcgi.conf": f"Include conf/{self.included()}",
            "/var/www/html": self.directory / "www"}))
        self.write("conf/users-api.conf", shipped("apache/users-api.conf", {
            "Include users-api/": "Include conf/", "/etc/ssl/users-api": self.directory,
            "Listen 127.0.0.1:8080": "".join(f"Listen 127.0.0.1:{port}\n" for port in
                                             (self.port, self.tls_port, self.redirect_port)),
            "*:80>": f"*:{self.redirect_port}>", "*:443>": f"*:{self.tls_port}>",
            "127.0.0.1:8080>": f"127.0.0.1:{self.port}>"}))
        file = f"mod_{self.module}.conf"
        self.write(f"conf/{file}", self.mounted(shipped(f"apache/{file}", self.paths())))
        load = "".join(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
                       for name in MODULES + self.modules())
        self.write("apache.conf", load + MAIN.format(directory=self.directory, log=self.log_path) + self.main()
                   + "Include conf/users-api.conf\n")

    def modules(self):
        return [self.module]

    def included(self):
        """The file by which Apache reaches the workers."""
        return f"mod_{self.module}.conf"

    def main(self):
        """What the module needs in the main configuration, to keep its files in our directory."""
        return ""

    def paths(self):
        """The paths in the module's file, and ours."""
        raise NotImplementedError

    def mounted(self, text):
        """As the file itself says how to: "replace `x` with `y`"."""
        if not self.mount:
            return text
        said = re.findall(r"`([^`]+)` with\s+`([^`]+)`", text.replace("\n# ", " "))
        assert said
        for root, below in said:
            assert text.count("\n" + root) == 1, root
            text = text.replace("\n" + root, "\n" + below.replace("/shop", self.mount))
        return text

    def command(self):
        return [*not_as_root(self.account), PROGRAM, "-d", self.directory, "-f", "apache.conf", "-DFOREGROUND"]

    def check_command(self):
        return [PROGRAM, "-t", "-d", self.directory, "-f", "apache.conf"]

    def version(self):
        said = subprocess.run([PROGRAM, "-v"], capture_output=True, text=True).stdout
        return re.search(r"Apache/(\S+)", said)[1]


class ApacheProxyFcgi(Apache):
    kind, http2 = "Apache, mod_proxy_fcgi", True
    module = "proxy_fcgi"

    def modules(self):
        return ["proxy", "proxy_fcgi"]

    def paths(self):
        return {"/run/users-api/": f"{self.sockets}/"}


class ApacheProxyFcgiReuse(ApacheProxyFcgi):
    kind, http2 = "Apache, mod_proxy_fcgi with reuse", False

    def configure(self):
        super().configure()
        self.write(f"conf/{self.included()}", shipped(f"apache/{self.included()}", self.paths() | {
            "Include users-api/": "Include conf/"}))

    def included(self):
        return "mod_proxy_fcgi_reuse.conf"

    def replace_workers(self):
        """As the file says."""
        super().replace_workers()
        self.process.send_signal(signal.SIGUSR1)


class ApacheRunsIt(Apache):
    """It starts the program itself, whose settings come from a file."""

    def configure(self):
        self.installed = self.program_copy()
        self.write("hob.env", "".join(f"{name}={value}\n" for name, value in self.settings.items()))
        super().configure()

    def paths(self):
        return {"/usr/local/bin/users-api": self.installed, "/etc/users-api/": f"{self.directory}/"}

    def replace_workers(self):
        fresh = self.directory / "fresh"
        shutil.copy(self.program, fresh)
        fresh.rename(self.installed)


class ApacheFcgid(ApacheRunsIt):
    kind, http2 = "Apache, mod_fcgid", True
    module, workers_mode = "fcgid", "spawned"

    def main(self):
        return f"FcgidIPCDir {self.sockets}\nFcgidProcessTableFile {self.directory}/processes\n"

    def paths(self):
        return super().paths() | {"/run/users-api/": f"{self.directory}/"}

    def slots(self):
        """Of the workers, however many of Apache's virtual hosts have started some."""
        done = run(self.program, "status", "--json", environment={"HOB_SCOREBOARD": str(self.directory / "scoreboard")})
        return json.loads(done.stdout)["slots"] if done.stdout else []

    def replace_workers(self):
        """New requests have new workers; those of the old file idle out."""
        before = {slot["pid"] for slot in self.slots()}
        super().replace_workers()
        stack.wait_for(lambda: {slot["pid"] for slot in self.slots()} - before, 10, "new workers")


class ApacheCgid(ApacheRunsIt):
    kind = "Apache, mod_cgid"
    module, workers_mode = "cgid", "cgi"

    def main(self):
        return f"ScriptSock {self.sockets}/cgid\n"
