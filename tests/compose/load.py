"""Clients that write and read through the published port, and what must be true of what they were told.

Each client is the only one that writes its user. A write puts the next number into the user's name, so a read must
give at least the highest number acknowledged before it began. An order bears the only SKU of its kind, so an
acknowledged one is in the database once, and one of unknown outcome at most once.
"""
import collections
import contextlib
import http.client
import itertools
import json
import random
import threading
import time
import uuid

Operation = collections.namedtuple("Operation", "kind begin end status")
PATCH, ORDER, READ = "patch", "order", "read"
NO_ANSWER = 0


def good(operation):
    return operation.status in (200, 201)


class Connection:
    """Kept open, as a browser's; a broken one is replaced by the next request."""

    def __init__(self, port):
        self.port, self.http = port, None

    def request(self, method, target, body=None, timeout=30):
        """Status and document. NO_ANSWER: the connection broke, or nothing came."""
        try:
            if self.http is None:
                self.http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
            self.http.request(method, target, json.dumps(body) if body is not None else None,
                              {"Content-Type": "application/json"} if body is not None else {})
            answer = self.http.getresponse()
            content = answer.read()
            if answer.will_close:
                self.close()
            return answer.status, json.loads(content) if content else None
        except (OSError, http.client.HTTPException):
            self.close()
            return NO_ANSWER, None

    def close(self):
        if self.http is not None:
            self.http.close()
        self.http = None


class Client:
    def __init__(self, load, number):
        self.load, self.connection, self.random = load, Connection(load.port), random.Random(number)
        body = {"name": "0", "email": f"{uuid.uuid4()}@example.com"}
        status, self.user = self.connection.request("POST", "/api/v1/users", body)
        assert status == 201, (status, self.user)
        self.path = f"/api/v1/users/{self.user['id']}"
        self.written = itertools.count(1)
        self.acknowledged = 0
        self.acknowledged_at = {}  # by number

    def run(self):
        while not self.load.stopped.is_set():
            self.random.choice((self.write, self.read, self.read, self.read, self.order))()
            self.load.stopped.wait(self.load.pause)
        self.connection.close()

    def note(self, kind, begin, status):
        self.load.operations.append(Operation(kind, begin, time.monotonic(), status))

    def write(self):
        number, begin = next(self.written), time.monotonic()
        status, _ = self.connection.request("PATCH", self.path, {"name": str(number)})
        if status == 200:
            self.acknowledged_at[number] = time.monotonic()
            self.acknowledged = number
        self.note(PATCH, begin, status)

    def read(self):
        """A read of anybody's user."""
        other = self.random.choice(self.load.clients)
        least, begin = other.acknowledged, time.monotonic()
        status, user = self.connection.request("GET", other.path)
        if status == 200 and int(user["name"]) < least:
            self.load.note_stale(other, begin, int(user["name"]), least)
        self.note(READ, begin, status)

    def order(self):
        sku, begin = uuid.uuid4().hex, time.monotonic()
        body = {"items": [{"sku": sku, "quantity": 1, "unit_price_cents": 1}]}
        status, _ = self.connection.request("POST", f"{self.path}/orders", body)
        self.load.orders[sku] = status
        self.note(ORDER, begin, status)


class Load:
    """with Load(port) as load: ...; then load.failed() and the like."""

    def __init__(self, port, clients=8, pause=0.001):
        self.port, self.pause = port, pause
        self.operations, self.stale, self.orders = [], [], {}
        self.stopped = threading.Event()
        self.clients = [Client(self, number) for number in range(clients)]
        self.threads = [threading.Thread(target=client.run) for client in self.clients]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def note_stale(self, client, begin, given, least):
        """How long before the read the first write that it misses had been acknowledged, and what it was."""
        missed = min(number for number in list(client.acknowledged_at) if number > given)
        self.stale.append((begin - client.acknowledged_at[missed], client.path, given, least))

    def failed(self, since=0.0):
        return [o for o in list(self.operations) if o.end >= since and not good(o)]

    def wait_for_success(self, seconds, calm=0.5):
        """How long it took from now until everything, writes included, succeeded for `calm` seconds."""
        begin = time.monotonic()
        while (now := time.monotonic()) < begin + seconds + calm:
            recent = [o for o in list(self.operations) if o.end >= now - calm]
            if now - calm >= begin and {o.kind for o in recent} == {PATCH, ORDER, READ} and all(map(good, recent)):
                return now - calm - begin
            time.sleep(0.05)
        raise AssertionError(f"not all well within {seconds} s: {self.summary(begin)}")

    def summary(self, since=0.0):
        operations = [o for o in list(self.operations) if o.end >= since]
        slowest = max((o.end - o.begin for o in operations), default=0)
        counts = collections.Counter((o.kind, o.status) for o in operations if not good(o))
        return f"{len(operations)} requests, slowest {slowest * 1000:.0f} ms, not answered well: {dict(counts)}"

    def check(self, project):
        """Against the database: nothing acknowledged is lost, nothing is there twice."""
        ids = ",".join(str(client.user["id"]) for client in self.clients)
        names = dict(project.rows(f"SELECT id, name FROM users WHERE id IN ({ids})"))
        for client in self.clients:
            assert int(names[str(client.user["id"])]) >= client.acknowledged, "an acknowledged write is lost"
        found = collections.Counter(dict(project.rows(
            f"SELECT sku, count(*) FROM order_items JOIN orders ON id = order_id WHERE user_id IN ({ids}) GROUP BY 1")))
        lost = [sku for sku, status in self.orders.items() if status == 201 and sku not in found]
        doubled = [sku for sku, count in found.items() if int(count) > 1]
        assert not lost, f"{len(lost)} acknowledged orders are lost"
        assert not doubled, f"{len(doubled)} orders are there twice"


@contextlib.contextmanager
def ended(load, project):
    """The load, and what must hold when it has ended."""
    with load:
        yield load
    load.check(project)
