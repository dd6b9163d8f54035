"""What is asked. Each workload is a file of requests, one a line: method, target, body if any."""
import json
import random

READ_USERS = range(1, 10001)
BUYERS = range(10001, 20001)
COUNT = 10000
SEED = 7
SKUS = ("tea-50", "tea-100", "kettle", "cup", "saucer", "honey")


def _any(chosen, users):
    return users[chosen.randrange(len(users))]


def _each_user(chosen, suffix=""):
    """Every user once, in no order."""
    return [f"GET /api/v1/users/{user}{suffix}" for user in chosen.sample(READ_USERS, len(READ_USERS))]


def _pages(chosen):
    return [f"GET /api/v1/users?limit=100&after={chosen.randint(1, 9900)}" for _ in range(1000)]


def _order(chosen):
    items = [{"sku": chosen.choice(SKUS), "quantity": chosen.randint(1, 9), "unit_price_cents": chosen.randint(1, 9999)}
             for _ in range(chosen.randint(1, 4))]
    return f"POST /api/v1/users/{_any(chosen, BUYERS)}/orders {json.dumps({'items': items}, separators=(',', ':'))}"


def _orders(chosen):
    return [_order(chosen) for _ in range(COUNT)]


def _mix(chosen):
    return [_order(chosen) if n % 10 == 0 else request for n, request in enumerate(_each_user(chosen))]


class Workload:
    def __init__(self, name, title, requests, variant="cached", cached=False, writes=False, database=True,
                 ceilings=("pgbench",), target=(None, None)):
        self.name, self.title, self.variant, self.writes = name, title, variant, writes
        self.cached = cached  # whether what it reads is in memcached
        self.database = database  # whether it is asked
        self.ceilings = ceilings  # names in ceilings.py
        self.targets = {"go": target[0], "go-nginx": target[1]}  # the least ratio of hob to it
        self._requests = requests

    def requests(self):
        return self._requests(random.Random(SEED))

    def write(self, directory):
        """Makes .file for the load generator, None where one request is repeated."""
        requests = self.requests()
        self.file = None
        if len(requests) > 1:
            self.file = directory / f"{self.name}.requests"
            self.file.write_text("\n".join(requests) + "\n")


ALL = {w.name: w for w in (
    Workload("ping", "ping", lambda _: ["GET /ping"], database=False, ceilings=("return-200", "no-work"),
             target=(1.0, 2.0)),
    Workload("cached", "GET user, cached", _each_user, cached=True, database=False,
             ceilings=("memcached-pass", "no-work"), target=(1.5, 2.5)),
    Workload("uncached", "GET user, cache off", _each_user, "uncached", ceilings=("pgbench", "no-work"),
             target=(1.8, 3.0)),
    Workload("list", "list of 100", _pages, target=(2.2, 3.2)),
    Workload("summary", "summary", lambda chosen: _each_user(chosen, "/summary"), target=(2.6, 3.2)),
    Workload("order", "POST order", _orders, writes=True, target=(1.1, 1.3)),
    Workload("mix", "mix, 90 % GET cached, 10 % POST", _mix, cached=True, writes=True, ceilings=(), target=(1.5, 2.2)),
    Workload("logged", "GET user, cached, access log on", _each_user, "logged", cached=True, database=False,
             ceilings=()),
)}
