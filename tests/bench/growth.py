"""`make bench-growth`: throughput and latency of hob behind nginx as one thing grows, all else staying as it is.

Its points are measured one after another, each by a service that was started for it; a point is the median of the
rounds. A request that fails makes its point void, and ends the run with status 1.
"""
import argparse
import contextlib
import copy
import dataclasses
import os
import pathlib
import re
import resource
import signal
import sys
import tempfile
from collections.abc import Callable

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "conf/dev"))
import answers  # noqa: E402
import growth_report  # noqa: E402
import load  # noqa: E402
import options as command_line  # noqa: E402
import peers  # noqa: E402
import rounds  # noqa: E402
import stack  # noqa: E402
import stage  # noqa: E402
import workloads  # noqa: E402

PROGRAM = command_line.BUILD / "tests/bench/support/growth"  # users-api, and two routes more
ASLEEP_MS = 450  # what is under way at the end is not counted, and a crowd takes a second to connect
MOST = 16384  # requests in flight; nginx has two connections for each
CACHED, UNCACHED = workloads.ALL["cached"], workloads.ALL["uncached"]


@dataclasses.dataclass
class Point:
    """What serves, and what is asked of it."""
    workload: workloads.Workload
    connections: int = 64
    workers: int = max(1, os.cpu_count() // 2)  # as in `make bench`
    caches: int = 1
    users: int = 20_000


@dataclasses.dataclass(eq=False)
class Curve:
    name: str
    title: str
    axis: str
    values: list
    point: Callable[[int], Point]
    asleep_ms: int = 0  # of each request's time
    longer: int = 1  # rounds last so many times as long


def _one(target):
    return workloads.Workload(target.strip("/").replace("/", "-"), target, lambda _: [f"GET {target}"])


def _any_of(users):
    return workloads.Workload(f"any-of-{users}", f"GET any of {users} users", lambda chosen: [
        f"GET /api/v1/users/{chosen.randint(1, users)}" for _ in range(100_000)], "uncached")


CURVES = (
    Curve("connections", "GET user, cached", "connections of clients", [1, 4, 16, 64, 256, 1000, 2000, 4000],
          lambda n: Point(CACHED, connections=n)),
    Curve("workers", "GET user, cache off, 64 connections", "workers", [1, 2, 3, 4, 6, 8],
          lambda n: Point(UNCACHED, workers=n)),
    Curve("size", "GET of one size, 64 connections", "bytes of an answer",
          [100, 1000, 10_000, 30_000, 100_000, 300_000, 2**20],
          lambda n: Point(_one(f"/bytes/{n}"))),
    Curve("sleeping", f"GET that sleeps for {ASLEEP_MS} ms, one worker", "requests in flight",
          [1, 10, 100, 1000, 3000, 10_000],
          lambda n: Point(_one(f"/wait/{ASLEEP_MS}"), connections=n, workers=1), ASLEEP_MS, longer=2),
    Curve("caches", "GET user, cached, 64 connections", "memcached servers", [1, 2, 3, 4],
          lambda n: Point(CACHED, caches=n)),
    Curve("rows", "GET user at random, cache off, 64 connections", "users in the table", [10**n for n in range(3, 8)],
          lambda n: Point(_any_of(n), users=n)),
)
USERS = """
TRUNCATE users CASCADE;
INSERT INTO users (id, name, email) OVERRIDING SYSTEM VALUE
SELECT n, 'Ada Lovelace', 'user' || n || '@example.com' FROM generate_series(1, {}) AS n;
"""


class Growth(stage.Stage):
    def set_up(self):
        self.database = self._run(stack.Postgres(self.place, stage.DATABASE_SETTINGS))
        stack.migrate(self.options.binary, self.database)
        self.users = 0
        most = max(curve.point(n).caches for curve in CURVES for n in curve.values)
        self.caches = [self._run(stack.Memcached(self.place, f"memcached-{n}")) for n in range(most)]
        self.cache = self.caches[0]
        self.nginx = self.place.path / "nginx.conf.in"
        self.nginx.write_text(re.sub(r"\b(worker_rlimit_nofile|worker_connections|keepalive) \d+;",
                                     rf"\1 {2 * MOST};", (peers.BENCH / "nginx.conf.in").read_text()))

    def put_users(self, count):
        if count != self.users:
            self.database.psql("-c", USERS.format(count))
            self.database.psql("-c", "VACUUM ANALYZE users")
            self.users = count

    def hob(self, name, point):
        settings = {"HOB_MAX_IN_FLIGHT": str(MOST), "nginx": self.nginx}
        if point.workload.cached:
            settings["HOB_CACHE"] = ",".join(str(cache.socket_path) for cache in self.caches[:point.caches])
        build = command_line.Hob(name, PROGRAM, settings)
        options = copy.copy(self.options)
        options.workers = point.workers
        return peers.hob(self.place, point.workload.variant, self, options, build)

    @contextlib.contextmanager
    def serving(self, name, point):
        self.put_users(point.users)
        point.workload.write(self.place.path)
        peer = self.hob(name, point)
        try:
            peer.start()
            if point.workload.cached:
                answers.fill(peer, point.workload)
            yield peer
        finally:
            peer.stop()

    def measure(self, curve, n):
        name, point = f"{curve.name}-{n}", curve.point(n)
        with self.serving(name, point) as peer:
            lengths = [self.options.warm_seconds] + self.options.rounds * [self.options.seconds * curve.longer]
            _, *samples = [load.wrk(self, peer, point.workload, point.connections, seconds) for seconds in lengths]
        if not all(sample["rate"] for sample in samples):
            raise stack.Failure(f"{name}: no answer")
        return rounds.summarise(samples)


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="three points of each curve, a second each: two minutes")
    p.add_argument("--curves", type=lambda text: text.split(","), default=[curve.name for curve in CURVES],
                   help=",".join(curve.name for curve in CURVES))
    p.add_argument("--most-rows", type=int, default=10**6, help="10000000: filling takes minutes, and 3 GB")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=int, default=2, help="of a measurement")
    p.add_argument("--warm-seconds", type=int, default=1)
    p.add_argument("--nginx-workers", type=int, default=os.cpu_count())
    p.add_argument("--pool", type=int, default=12, help="database connections of all workers together")
    p.add_argument("--results", type=pathlib.Path, help="a directory for JSON and plots")
    if "--quick" in sys.argv:
        p.set_defaults(rounds=1, seconds=1)
    return p.parse_args()


def chosen(curve, options):
    values = [n for n in curve.values if curve.name != "rows" or n <= options.most_rows]
    return [values[0], values[len(values) // 2], values[-1]] if options.quick else values


def main():
    options = parse()
    options.binary, options.tools, options.hobs, options.ceilings = PROGRAM, command_line.BUILD / "bench", {}, False
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    found = {curve: {} for curve in CURVES if curve.name in options.curves}
    with tempfile.TemporaryDirectory() as directory, Growth(directory, options) as growth:
        growth.set_up()
        for curve, points in found.items():
            print(growth_report.heading(curve))
            for n in chosen(curve, options):
                points[n] = growth.measure(curve, n)
                print(growth_report.row(n, points[n]), flush=True)
    if options.results:
        growth_report.write(options.results, options, found)
    return 1 if any(point["errors"] for points in found.values() for point in points.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except stack.Failure as failure:
        sys.exit(f"make bench-growth: {failure}")
