"""Caddy: conf/caddy/."""
import shutil
import subprocess

import stack

from .base import Server, certificate, shipped

PROGRAM = shutil.which("caddy") or "/usr/bin/caddy"


class Caddy(Server):
    kind, http2 = "Caddy", True
    prevents = {"bad encoding": "Go's net/http answers 400 in plain text, before Caddy sees the request"}

    def configure(self):
        self.tls_port, self.redirect_port = stack.free_port(), stack.free_port()
        self.h2c_port = self.port
        self.access_log = self.directory / "access.json"
        certificate(self.directory)
        options = ["admin off", "ocsp_stapling off", f"http_port {self.redirect_port}", f"https_port {self.tls_port}"]
        self.write("Caddyfile", shipped("caddy/Caddyfile", {
            "admin localhost:2019": "\n\t".join(options),
            "api.example.com {": f"localhost:{self.tls_port}, 127.0.0.1:{self.tls_port} {{",
            "/etc/ssl/users-api": self.directory, "http://:8080": f"http://:{self.port}",
            "unix//run/users-api/": f"unix/{self.sockets}/", "/var/log/caddy/users-api.json": self.access_log,
            "reverse_proxy /* ": f"reverse_proxy {self.mount}/* ",
            "path /livez /readyz": f"path {self.mount}/livez {self.mount}/readyz"}))

    def caddy(self, *arguments):
        """All that it keeps, and what its libraries do, lies below HOME."""
        return ["env", "-u", "XDG_CONFIG_HOME", "-u", "XDG_DATA_HOME", f"HOME={self.directory}", PROGRAM, *arguments]

    def command(self):
        return self.caddy("run", "--config", self.directory / "Caddyfile", "--adapter", "caddyfile")

    def check_command(self):
        return self.caddy("validate", "--config", "Caddyfile", "--adapter", "caddyfile")

    def version(self):
        return subprocess.run(self.caddy("version"), capture_output=True, text=True).stdout.split()[0]
