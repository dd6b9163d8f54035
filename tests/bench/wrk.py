"""`make bench`: wrk against users-api behind nginx, beside nginx's own `return 200` in the same run.

SECONDS_EACH (5) a measurement, WORKERS (one a core). The load generator, nginx, PostgreSQL and the workers share the
machine, so the ratios say more than the numbers. Ends with status 1 when a single request failed.
"""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "conf/dev"))
import stack  # noqa: E402

BINARY = ROOT / os.environ.get("HOB_BUILD", "build") / "users-api"
CONNECTIONS = (16, 64)
NGINX_ALONE = """location = /return-200 {
            default_type application/json;
            return 200 '{"message":"pong"}';
        }

        location / {"""
TARGETS = (
    ("nginx's return 200", "cached", "/return-200"),
    ("ping", "cached", "/ping"),
    ("user, cached", "cached", "/api/v1/users/500"),
    ("user, cache off", "uncached", "/api/v1/users/500"),
    ("100 users", "cached", "/api/v1/users?limit=100"),
    ("summary", "cached", "/api/v1/users/500/summary"),
)


class Nginx(stack.Nginx):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.configuration = self.configuration.replace("location / {", NGINX_ALONE, 1)


def start(resources, place, seconds):
    """The port of each variant."""
    def run(daemon):
        resources.callback(daemon.stop)
        daemon.start()
        return daemon

    count = int(os.environ.get("WORKERS") or os.cpu_count())
    database = run(stack.Postgres(place))
    stack.migrate(BINARY, database)
    database.psql("-1", "-f", str(ROOT / "app/demo.sql"))
    database.psql("-c", "VACUUM ANALYZE")
    cache = run(stack.Memcached(place))
    settings = {"DATABASE_URL": database.url, "HOB_LOG_LEVEL": "warn"}
    ports = {}
    for name, more in (("cached", {"HOB_CACHE": str(cache.socket_path)}), ("uncached", {})):
        workers = run(stack.Workers(place, BINARY, count, settings | more, name=f"worker-{name}"))
        ports[name] = run(Nginx(place, stack.free_port(), workers.socket_path, name=f"nginx-{name}")).port
        stack.wait_ready(ports[name])
    print(f"{count} workers, {os.cpu_count()} cores shared by everything, {seconds} s each", flush=True)
    return ports


def in_ms(text):
    value, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(value) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit]


def measure(url, connections, seconds):
    """(requests a second, p50 and p99 in ms, failed requests)."""
    done = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url], capture_output=True,
                          text=True, timeout=seconds + 30, check=True)
    out = done.stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1])
    p50, p99 = (in_ms(re.search(rf"^ +{p}% +(\S+)$", out, re.MULTILINE)[1]) for p in (50, 99))
    failed = sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", out)))
    return rate, p50, p99, failed


def main():
    seconds = int(os.environ.get("SECONDS_EACH") or 5)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    failures = 0
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as resources:
        place = stack.Place(directory)
        resources.callback(place.close)
        ports = start(resources, place, seconds)
        for connections in CONNECTIONS:
            alone = None
            for name, variant, path in TARGETS:
                url = f"http://127.0.0.1:{ports[variant]}{path}"
                measure(url, connections, 1)  # warm
                rate, p50, p99, failed = measure(url, connections, seconds)
                alone = alone or rate
                failures += failed
                print(f"{connections:3} connections  {name:20} {rate:9,.0f} req/s  {rate / alone:5.2f} of nginx alone"
                      f"  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms  failed {failed}", flush=True)
    return 1 if failures else 0


sys.exit(main())
