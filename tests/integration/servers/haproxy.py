"""HAProxy: conf/haproxy/."""
import shutil
import subprocess

import stack

from .base import Server, certificate, shipped

PROGRAM = shutil.which("haproxy") or "/usr/sbin/haproxy"


class HAProxy(Server):
    kind, http2 = "HAProxy", True
    prevents = {"chunked, large": "it says to FastCGI how long a body is, so one without Content-Length must fit into its "
                                  "buffer, of 64 KiB at most: 411 above 32 KiB",
                "chunked, empty": "HAProxy 2.6 does not end it towards FastCGI: 411"}

    def configure(self):
        self.tls_port, self.h2c_port = stack.free_port(), self.port
        pair = certificate(self.directory)
        self.write("fullchain-and-key.pem", "".join(path.read_text() for path in pair))
        self.write("haproxy.cfg", shipped("haproxy/haproxy.cfg", {
            "    user haproxy": "   ", "    group haproxy": "", "bind :443": f"bind 127.0.0.1:{self.tls_port}",
            "127.0.0.1:8080": f"127.0.0.1:{self.port}", "/etc/ssl/users-api": self.directory,
            "/run/users-api": self.sockets, "path_beg /": f"path_beg {self.mount}/",
            "path /livez /readyz": f"path {self.mount}/livez {self.mount}/readyz"}))

    def command(self):
        return [PROGRAM, "-db", "-f", self.directory / "haproxy.cfg"]

    def check_command(self):
        return [PROGRAM, "-c", "-f", self.directory / "haproxy.cfg"]

    def version(self):
        return subprocess.run([PROGRAM, "-v"], capture_output=True, text=True).stdout.split()[2].partition("-")[0]
