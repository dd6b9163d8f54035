"""What the peers answer: asked one at a time, before anything is measured."""
import http.client
import json

import stack

JSON = {"Content-Type": "application/json"}
ORDER = '''{"items":[{"sku":"tea-50","quantity":2,"unit_price_cents":999},
    {"sku":"cup","quantity":1,"unit_price_cents":0}]}'''
# Method, target, body; what is read must be equal byte by byte.
READS = [("GET", target, None) for target in (
    "/ping", "/api/v1/users/1", "/api/v1/users/1", "/api/v1/users/10000", "/api/v1/users?limit=100",
    "/api/v1/users?limit=100&after=4321", "/api/v1/users?limit=100&after=19950", "/api/v1/users/7/summary",
    "/api/v1/users/20000/summary", "/api/v1/orders/1")]
# Must be the same problem, in whatever words.
FAULTS = [("GET", target, None) for target in (
    "/nothing", "/api/v1/users/999999", "/api/v1/users/-1", "/api/v1/users/x", "/api/v1/users?limit=101",
    "/api/v1/users?after=0", "/api/v1/users/999999/summary")]
FAULTS += [("POST", "/api/v1/users/10001/orders", body) for body in (
    "{", "[]", '{"items":[]}', '{"items":[{"sku":"tea 50","quantity":0,"unit_price_cents":-1}]}',
    '{"items":[{"sku":"cup","quantity":1}]}', '{"items":[],"more":1}', '{"items":"none"}')]
FAULTS += [("POST", "/api/v1/users/999999/orders", ORDER)]


class Client:
    """One kept connection."""

    def __init__(self, peer):
        self.connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def ask(self, method, target, body=None):
        """Status, headers, body."""
        self.connection.request(method, target, body or None, JSON if body else {})
        answer = self.connection.getresponse()
        return answer.status, answer.headers, answer.read()


def fill(peer, workload):
    """Every user that is read once, so that none of them is missing in the cache."""
    with Client(peer) as client:
        for request in workload.requests():
            method, target, *_ = request.split(" ", 2)
            if method == "GET":
                status, _, body = client.ask(method, target)
                if status != 200:
                    raise stack.Failure(f"{peer.name}: {target}: {status} {body[:200]!r}")


def _read(client, request):
    status, headers, body = client.ask(*request)
    return status, headers["Content-Type"].partition(";")[0], headers["Link"], body


def _fault(client, request):
    status, headers, body = client.ask(*request)
    problem = json.loads(body)
    names_the_request = problem["instance"] == headers["X-Request-ID"]
    return status, headers["Content-Type"], problem["title"], problem["status"], names_the_request


def _written(client):
    status, headers, body = client.ask("POST", "/api/v1/users/10001/orders", ORDER)
    order = json.loads(body)
    place_agrees = headers["Location"] == f"/api/v1/orders/{order.pop('id')}"
    return status, headers["Content-Type"], place_agrees, len(order.pop("created_at")), list(order.items())


def _all_of(peer):
    with Client(peer) as client:
        yield "X-Request-ID", bool(client.ask("GET", "/ping")[1]["X-Request-ID"])
        for request in READS:
            yield request, _read(client, request)
        for request in FAULTS:
            yield request, _fault(client, request)
        yield "POST order", _written(client)


def check_equal(peers):
    """All answer as the first one does."""
    first, *others = peers
    expected = list(_all_of(first))
    for other in others:
        for (request, wanted), (_, got) in zip(expected, _all_of(other), strict=True):
            if got != wanted:
                raise stack.Failure(f"{request}: {first.name} answers {wanted}, {other.name} answers {got}")
