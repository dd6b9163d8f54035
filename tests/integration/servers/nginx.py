"""nginx: conf/nginx/."""
import os
import shutil
import subprocess

import stack
from conftest import ROOT

from .base import Server, certificate, shipped

PROGRAM = shutil.which("nginx") or "/usr/sbin/nginx"
MAIN = """
@USER@
daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr warn;
events {
    worker_connections 4096;
}
http {
    client_body_temp_path body;
    fastcgi_temp_path fastcgi;
    proxy_temp_path proxy;
    scgi_temp_path scgi;
    uwsgi_temp_path uwsgi;
    include hob-http.conf;
    include upstream.conf;
    include users-api.conf;
}
"""


class Nginx(Server):
    kind, http2 = "nginx", True
    upstream = "users-api-upstream.conf"

    def configure(self):
        self.tls_port, self.h2c_port, self.redirect_port = (stack.free_port() for _ in range(3))
        self.access_log = self.directory / "access.json"
        certificate(self.directory)
        self.write("nginx.conf", MAIN.replace("@USER@", "user root;" if os.geteuid() == 0 else ""))
        for name in ("hob-fastcgi.conf", "hob-http.conf", "hob-problems.conf"):
            shutil.copy(ROOT / "conf/nginx" / name, self.directory)
        self.write("upstream.conf", shipped(f"nginx/{self.upstream}", {"/run/users-api/": f"{self.sockets}/"}))
        self.write("users-api-server.conf", shipped("nginx/users-api-server.conf", {
            "location / {": f"location {self.mount}/ {{", "/var/log/nginx/users-api.json": self.access_log}))
        self.write("users-api.conf", shipped("nginx/users-api.conf", {
            "/etc/ssl/users-api": self.directory, "listen [::]:80;": "", "listen [::]:443 ssl http2;": "",
            "listen 80;": f"listen 127.0.0.1:{self.redirect_port};", "listen 443 ": f"listen 127.0.0.1:{self.tls_port} ",
            "127.0.0.1:8080": f"127.0.0.1:{self.port}", "127.0.0.1:8081": f"127.0.0.1:{self.h2c_port}"}))

    def command(self):
        return [PROGRAM, "-p", self.directory, "-c", "nginx.conf", "-e", "stderr"]

    def check_command(self):
        return [*self.command(), "-t"]

    def version(self):
        return subprocess.run([PROGRAM, "-v"], capture_output=True, text=True).stderr.strip().rpartition("/")[2]


class NginxPerWorker(Nginx):
    kind, http2 = "nginx, a socket per worker", False
    upstream = "users-api-upstream-per-worker.conf"

    def listening(self):
        return {"HOB_LISTEN": str(self.sockets / "worker-%d.sock"), "HOB_WORKERS": "4"}
