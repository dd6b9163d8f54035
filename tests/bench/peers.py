"""The peers: each a service in one variant (cached, uncached, logged), with or without nginx in front of it."""
import glob
import os
import re
import signal
import socket

import stack

BENCH = stack.ROOT / "tests/bench"
AS_ROOT = os.geteuid() == 0
PROXY = """location / {
            proxy_pass http://service;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_connect_timeout 5s;
            proxy_send_timeout 15s;
            proxy_read_timeout 30s;
            proxy_next_upstream error;
            proxy_buffer_size 8k;
            proxy_buffers 16 16k;
        }"""
FASTCGI = """location / {
            include hob-fastcgi.conf;
            fastcgi_pass service;
        }"""
PHP = """location / {
            fastcgi_pass service;
            fastcgi_buffer_size 8k;
            fastcgi_buffers 16 16k;
            fastcgi_param SCRIPT_FILENAME @SCRIPT@;
            fastcgi_param DATABASE "@DATABASE@";
            fastcgi_param CACHE "@CACHE@";
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param REQUEST_URI $request_uri;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param REMOTE_ADDR $remote_addr;
        }"""


def filled(text, **values):
    """text with each @NAME@ that is known in its place."""
    return re.sub(r"@([A-Z]+)@", lambda m: str(values.get(m[1], m[0])), text)


class Nginx(stack.Nginx):
    def __init__(self, place, name, upstream, locations, workers, template=None):
        super().__init__(place, stack.free_port(), upstream, name=name)
        self.configuration = filled((template or BENCH / "nginx.conf.in").read_text(), PORT=self.port, SOCKET=upstream,
                                    WORKERS=workers, LOCATIONS=locations, USER="user root;" if AS_ROOT else "")


class Service(stack.Daemon):
    """A program that listens on a unix socket or, without nginx, on a port."""

    def __init__(self, place, name, argv, environment, listen, **options):
        self.name = name
        super().__init__(place)
        self.argv, self.listen, self.options = argv, listen, options
        self.environment = stack.base_environment() | environment

    def start(self):
        self.spawn(self.argv, env=self.environment, **self.options)
        family, address = (socket.AF_INET, self.listen) if isinstance(self.listen, tuple) else \
            (socket.AF_UNIX, str(self.listen))
        self.wait_ready(lambda: stack.accepts(family, address), 60)


class Peer:
    """Daemons that are started in order and stopped in the opposite one; the last one answers on .port."""

    def __init__(self, name, variant, daemons, port):
        self.name, self.variant, self.daemons, self.port = name, variant, daemons, port

    def start(self):
        for daemon in self.daemons:
            daemon.start()
        stack.wait_ready(self.port)

    def stop(self):
        for daemon in reversed(self.daemons):
            daemon.stop()

    def roots(self):
        return [daemon.process.pid for daemon in self.daemons]

    def url(self, target=""):
        return f"http://127.0.0.1:{self.port}{target}"


def behind_nginx(place, name, variant, service, locations, options, template=None):
    nginx = Nginx(place, f"nginx-{service.name}", service.listen, locations, options.nginx_workers, template)
    return Peer(name, variant, [service, nginx], nginx.port)


def hob(place, variant, stage, options, build):
    """build: an options.Hob."""
    unique = f"{build.name}-{variant}"
    listen = place.sockets / f"{unique}.sock"
    pool = str(max(2, options.pool // options.workers))
    settings = {"DATABASE_URL": stage.database.url, "HOB_DB_MAX_OPEN": pool, "HOB_DB_MAX_IDLE": pool,
                "HOB_LISTEN": str(listen), "HOB_WORKERS": str(options.workers),
                "HOB_LOG": str(place.path / f"{unique}.lines"),
                "HOB_LOG_LEVEL": "info" if variant == "logged" else "warn"}
    if variant != "uncached":
        settings |= {"HOB_CACHE": str(stage.cache.socket_path), "HOB_CACHE_TTL": "1h"}
    own = {k: v for k, v in os.environ.items() if k.startswith("HOB_") and k != "HOB_BUILD"}
    service = Service(place, unique, [build.program, "serve"], settings | own | build.settings, listen)
    service.stop_signal = signal.SIGQUIT  # at once
    return behind_nginx(place, build.name, variant, service, FASTCGI, options, build.nginx)


def _go(place, variant, stage, options, name, listen, **more):
    settings = {"DATABASE_URL": f"{stage.database.url}&pool_max_conns={options.pool}",
                "GOGC": str(options.gogc),
                "LISTEN": "{}:{}".format(*listen) if isinstance(listen, tuple) else str(listen),
                "ACCESS_LOG": "1" if variant == "logged" else "",
                "CACHE": "" if variant == "uncached" else str(stage.cache.socket_path)} | more
    return Service(place, f"{name}-{variant}", [options.tools / "users-api-go"], settings, listen)


def go(place, variant, stage, options, name="go", **more):
    listen = ("127.0.0.1", stack.free_port())
    return Peer(name, variant, [_go(place, variant, stage, options, name, listen, **more)], listen[1])


def go_nginx(place, variant, stage, options):
    service = _go(place, variant, stage, options, "go-nginx", place.sockets / f"go-{variant}.sock")
    return behind_nginx(place, "go-nginx", variant, service, PROXY, options)


def go_batch(place, variant, stage, options):
    return go(place, variant, stage, options, "go-batch", PIPELINE="1")


def php(place, variant, stage, options):
    """Without kept connections to nginx: each would keep a child to itself."""
    listen = place.sockets / f"php-{variant}.sock"
    log = f"access.log = {place.path}/php-access.log" if variant == "logged" else ""
    conf = place.path / f"php-fpm-{variant}.conf"
    conf.write_text(filled((BENCH / "peers/php/php-fpm.conf.in").read_text(), SOCKET=listen, CHILDREN=options.children,
                           ACCESSLOG=log, USER="user = root\ngroup = root" if AS_ROOT else ""))
    database = stage.database
    location = filled(PHP, SCRIPT=BENCH / "peers/php/index.php",
                      CACHE="" if variant == "uncached" else stage.cache.socket_path,
                      DATABASE=f"host={database.socket_directory} user={database.role} dbname={database.database}"
                               " options='-c TimeZone=UTC'")
    argv = [php_fpm(), "--fpm-config", conf, "--nodaemonize", *(["--allow-to-run-as-root"] if AS_ROOT else [])]
    service = Service(place, f"php-{variant}", argv, {}, listen)
    return behind_nginx(place, "php", variant, service, location, options)


def php_fpm():
    found = sorted(glob.glob("/usr/sbin/php-fpm*"))
    if not found:
        raise stack.Failure("php-fpm is not installed: make deps")
    return found[-1]


KINDS = {"go": go, "go-nginx": go_nginx, "go-batch": go_batch, "php": php}  # beside the hobs
