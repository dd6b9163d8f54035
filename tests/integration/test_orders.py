"""Orders and summaries through nginx."""
import re

import pytest

ITEM = {"sku": "tea-50", "quantity": 2, "unit_price_cents": 999}


def orders_of(user):
    return f"/api/v1/users/{user['id']}/orders"


def without_items(order):
    return {key: value for key, value in order.items() if key != "items"}


@pytest.fixture
def user(http_client):
    return http_client.new_user()


def test_create(http_client, user):
    items = [ITEM, {"sku": "A.b_C-9", "quantity": 1, "unit_price_cents": 0},
             {"sku": "s" * 64, "quantity": 10000, "unit_price_cents": 100000000}]
    answer = http_client.post(orders_of(user), {"items": items})
    assert answer.status == 201, answer
    order = answer.json
    assert list(order) == ["id", "user_id", "total_cents", "created_at", "items"]
    assert order["user_id"] == user["id"]
    assert order["total_cents"] == 2 * 999 + 10000 * 100000000
    assert order["items"] == items
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", order["created_at"])
    assert answer.headers["Location"] == f"/api/v1/orders/{order['id']}"
    for _ in range(3):  # from the database, then from the cache
        assert http_client.get(answer.headers["Location"]).json == order


def test_a_hundred_items_stay_in_order(http_client, user):
    items = [{"sku": f"sku-{i}", "quantity": 100 - i, "unit_price_cents": i} for i in range(100)]
    order = http_client.new_order(user, items)
    assert order["items"] == items
    assert http_client.get(f"/api/v1/orders/{order['id']}").json == order


def test_all_or_nothing(http_client, user, database, problem):
    """The items cannot be written: neither is the order."""
    database.execute("ALTER TABLE order_items ADD CONSTRAINT test_only CHECK (sku <> 'refused') NOT VALID")
    try:
        problem(http_client.post(orders_of(user), {"items": [ITEM, ITEM | {"sku": "refused"}]}), 422)
    finally:
        database.execute("ALTER TABLE order_items DROP CONSTRAINT test_only")
    assert http_client.get(orders_of(user)).json == {"orders": [], "next": None}
    assert http_client.post(orders_of(user), {"items": [ITEM]}).status == 201


@pytest.mark.parametrize("body, pointers", [
    ({}, ["/items"]),
    ({"items": []}, ["/items"]),
    ({"items": None}, ["/items"]),
    ({"items": {}}, ["/items"]),
    ({"items": [ITEM] * 101}, ["/items"]),
    ({"items": [1]}, ["/items/0"]),
    ({"items": [ITEM, {}]}, ["/items/1/quantity", "/items/1/sku", "/items/1/unit_price_cents"]),
    ({"items": [ITEM | {"quantity": 0}]}, ["/items/0/quantity"]),
    ({"items": [ITEM | {"quantity": 10001}]}, ["/items/0/quantity"]),
    ({"items": [ITEM | {"quantity": "2"}]}, ["/items/0/quantity"]),
    ({"items": [ITEM | {"quantity": 1.5}]}, ["/items/0/quantity"]),
    ({"items": [ITEM | {"unit_price_cents": -1}]}, ["/items/0/unit_price_cents"]),
    ({"items": [ITEM | {"unit_price_cents": 100000001}]}, ["/items/0/unit_price_cents"]),
    ({"items": [ITEM | {"sku": ""}]}, ["/items/0/sku"]),
    ({"items": [ITEM | {"sku": "s" * 65}]}, ["/items/0/sku"]),
    ({"items": [ITEM | {"sku": "two words"}]}, ["/items/0/sku"]),
    ({"items": [ITEM | {"sku": "é"}]}, ["/items/0/sku"]),
    ({"items": [ITEM | {"colour": "red"}]}, ["/items/0/colour"]),
    ({"items": [ITEM], "total_cents": 1}, ["/total_cents"]),
    ({"items": [ITEM | {"quantity": 0}, ITEM | {"sku": 1}], "x": 1}, ["/items/0/quantity", "/items/1/sku", "/x"]),
])
def test_invalid_bodies(http_client, user, problem, body, pointers):
    faults = problem(http_client.post(orders_of(user), body), 422)["errors"]
    assert sorted(fault["pointer"] for fault in faults) == pointers
    assert all(fault["detail"] for fault in faults)


@pytest.mark.parametrize("method, target", [("GET", "orders"), ("POST", "orders"), ("GET", "summary")])
def test_no_such_user(http_client, problem, method, target):
    body = {"items": [ITEM]} if method == "POST" else None
    answer = http_client.request(method, f"/api/v1/users/9223372036854775807/{target}", body)
    assert problem(answer, 404)["detail"] == "no user 9223372036854775807"


@pytest.mark.parametrize("id", ["9223372036854775807", "0", "x"])
def test_no_such_order(http_client, problem, id):
    problem(http_client.get(f"/api/v1/orders/{id}"), 404)


def test_pages_newest_first(http_client, user):
    orders = [without_items(http_client.new_order(user)) for _ in range(5)]
    http_client.new_order(http_client.new_user())  # another's is not among them
    first = http_client.get(f"{orders_of(user)}?limit=3")
    assert first.json == {"orders": orders[:1:-1], "next": str(orders[2]["id"])}
    link = re.fullmatch(r'<([^>]*)>; rel="next"', first.headers["Link"])[1]
    assert link.startswith(orders_of(user) + "?")
    rest = http_client.get(link)
    assert rest.json == {"orders": orders[1::-1], "next": None}
    assert rest.headers["Link"] is None


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "after=0", "after=x"])
def test_bad_query(http_client, user, problem, query):
    problem(http_client.get(f"{orders_of(user)}?{query}"), 400)


def test_summary(http_client, user):
    summary = f"/api/v1/users/{user['id']}/summary"
    assert http_client.get(summary).json == {"user": user, "orders": [], "totals": {"orders": 0, "cents": 0}}
    orders = [without_items(http_client.new_order(user)) for _ in range(12)]
    answer = http_client.get(summary)
    assert list(answer.json) == ["user", "orders", "totals"]
    assert answer.json == {"user": user, "orders": orders[:1:-1], "totals": {"orders": 12, "cents": 12 * 1998}}
