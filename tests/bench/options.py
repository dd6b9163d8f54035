"""The command line."""
import argparse
import os
import pathlib
import sys

import stack
import workloads

BUILD = stack.ROOT / os.environ.get("HOB_BUILD", "build")
TITLES = {"hob": "hob", "go": "Go", "go-nginx": "Go behind nginx", "go-batch": "Go, pgx batches", "php": "php-fpm",
          "slow": "hob, 20 us slower", "return-200": "nginx return 200", "no-work": "FastCGI, no work",
          "memcached-pass": "nginx memcached", "pgbench": "pgbench"}
QUICK = {"rounds": 2, "connections": [64], "peers": ["hob", "go", "go-nginx"],
         "workloads": [name for name in workloads.ALL if name != "logged"], "ceilings": False, "open_seconds": 0,
         "day_seconds": 0}


class Hob:
    """A hob to compare: another build, other settings, another nginx.conf.in."""

    def __init__(self, name, program, settings=None):
        self.name, self.program, self.settings = name, pathlib.Path(program).resolve(), settings or {}
        template = self.settings.pop("nginx", None)
        self.nginx = pathlib.Path(template).resolve() if template else None


def _hob(text):
    first, *settings = text.split(",")
    return Hob(*first.split("=", 1), dict(item.split("=", 1) for item in settings))


def _names(text):
    return text.split(",")


def _numbers(text):
    return [int(n) for n in text.split(",")]


def parse(description):
    cores = os.cpu_count()
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="a short run: two minutes")
    p.add_argument("--workloads", type=_names, default=list(workloads.ALL), help=",".join(workloads.ALL))
    p.add_argument("--peers", type=_names, default=["hob", "go", "go-nginx", "go-batch", "php"], help=",".join(TITLES))
    p.add_argument("--connections", type=_numbers, default=[16, 64, 256])
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=int, default=2, help="of a measurement")
    p.add_argument("--warm-seconds", type=int, default=1, help="of a peer, before its first measurement of a kind")
    p.add_argument("--ceilings", action=argparse.BooleanOptionalAction, default=True, help="nginx alone, pgbench")
    p.add_argument("--open-seconds", type=int, default=5, help="of a measurement at a constant rate; 0: none")
    p.add_argument("--day-seconds", type=int, default=20, help="of a k6 user's day; 0: none")
    p.add_argument("--results", type=pathlib.Path, help="a directory for JSON, text and plots")
    p.add_argument("--hold", action="store_true", help="start the peers, say where they are, and wait for Ctrl-C")
    p.add_argument("--workers", type=int, default=max(1, cores // 2),
                   help="of hob; the rest of the machine is nginx's, the database's and the load generator's")
    p.add_argument("--nginx-workers", type=int, default=cores)
    p.add_argument("--pool", type=int, default=12, help="database connections of a service, hob's of all workers")
    p.add_argument("--gogc", type=int, default=400, help="Go's GOGC: of 100, the default, it is a tenth slower")
    p.add_argument("--children", type=int, default=16, help="of php-fpm")
    p.add_argument("--binary", type=pathlib.Path, default=BUILD / "users-api")
    p.add_argument("--slow-binary", type=pathlib.Path, default=BUILD / "tests/bench/support/slow")
    p.add_argument("--no-work-binary", type=pathlib.Path, default=BUILD / "tests/bench/support/no_work")
    p.add_argument("--tools", type=pathlib.Path, default=BUILD / "bench", help="where users-api-go, vegeta and k6 are")
    p.add_argument("--hob", type=_hob, action="append", default=[], help=Hob.__doc__,
                   metavar="NAME=PROGRAM[,HOB_SETTING=value][,nginx=FILE]")
    if "--quick" in sys.argv:
        p.set_defaults(**QUICK)
    options = p.parse_args()
    options.tools = options.tools.resolve()
    options.hobs = {h.name: h for h in (Hob("hob", options.binary), Hob("slow", options.slow_binary), *options.hob)}
    options.peers += [h.name for h in options.hob]
    options.titles = {name: name for name in options.hobs} | TITLES
    return options
