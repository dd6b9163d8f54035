"""`make bench-servers`: a cached user through every web server of conf/, one after the other, with wrk.

SECONDS_EACH (4) a measurement, CONNECTIONS (32). Servers that start a process for each request take part, too. Ends with
status 1 when a request failed.
"""
import contextlib
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/integration"), str(ROOT / "conf/dev")]
import stack  # noqa: E402
from conftest import BINARY  # noqa: E402
from servers.conftest import SERVERS  # noqa: E402

TARGET = "/api/v1/users/500"
WARM_SECONDS = {"serve": 1, "cgi": 1, "spawned": 15}  # mod_fcgid starts few processes a second
TO_MS = {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}


def measure(port, connections, seconds):
    """(requests a second, p99 in ms or NaN when none was answered, requests that failed)."""
    done = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "--latency",
                           f"http://127.0.0.1:{port}{TARGET}"],
                          capture_output=True, text=True, timeout=seconds + 60, check=True)
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
    found = re.search(r"^ +99% +([\d.]+)(us|ms|s|m)$", done.stdout, re.MULTILINE)
    p99 = float(found[1]) * TO_MS[found[2]] if found else math.nan
    failed = sum(map(int, re.findall(r"(?:connect|read|write|timeout|responses:) (\d+)", done.stdout)))
    return rate, p99, failed


def main():
    seconds, connections = (int(os.environ.get(name) or usual) for name, usual in
                            (("SECONDS_EACH", 4), ("CONNECTIONS", 32)))
    failures = 0
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as resources:
        os.chmod(directory, 0o711)  # Apache and others do not serve as root
        place = stack.Place(directory)
        resources.callback(place.close)

        def run(daemon):
            resources.callback(daemon.stop)
            daemon.start()
            return daemon

        database, cache = run(stack.Postgres(place)), run(stack.Memcached(place))
        stack.migrate(BINARY, database)
        database.psql("-1", "-f", str(ROOT / "app/demo.sql"))
        settings = {"DATABASE_URL": database.url, "HOB_CACHE": str(cache.socket_path), "HOB_LOG_LEVEL": "warn"}
        for kind in SERVERS:
            server = kind(place, settings)
            try:
                server.start()
                stack.wait_ready(server.port)
                measure(server.port, connections, WARM_SECONDS[server.workers_mode])
                rate, p99, failed = measure(server.port, connections, seconds)
            finally:
                server.stop()
            failures += failed
            print(f"{kind.kind:36} {server.version():14} {rate:9,.0f} req/s   p99 {p99:9,.2f} ms   failed {failed}",
                  flush=True)
    return 1 if failures else 0


sys.exit(main())
