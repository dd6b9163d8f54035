"""/api/v1/users through nginx."""
import re

import pytest

USERS = "/api/v1/users"
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def path_of(user):
    return f"{USERS}/{user['id']}"


def test_create(http_client):
    answer = http_client.post(USERS, {"name": "  Ada Lovelace ", "email": "Ada.L@Example.com"})
    assert answer.status == 201
    user = answer.json
    assert list(user) == ["id", "name", "email", "created_at", "updated_at"]
    assert user["name"] == "Ada Lovelace"
    assert user["email"] == "Ada.L@Example.com"
    assert TIMESTAMP.fullmatch(user["created_at"])
    assert user["updated_at"] == user["created_at"]
    assert answer.headers["Location"] == path_of(user)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert http_client.get(answer.headers["Location"]).json == user


@pytest.mark.parametrize("name", ["x", "n" * 100, "é" * 100, "名前", "O'Brien; DROP TABLE users --", 'a " and a \\', "🫖"])
def test_names_come_back_as_they_went(http_client, name):
    user = http_client.new_user(name=name)
    assert user["name"] == name
    assert http_client.get(path_of(user)).json == user  # from the database
    assert http_client.get(path_of(user)).json == user  # from the cache


def test_email_is_unique_without_regard_to_case(http_client, problem):
    user = http_client.new_user()
    answer = http_client.post(USERS, {"name": "Other", "email": user["email"].upper()})
    assert "email" in str(problem(answer, 409, "Conflict"))


@pytest.mark.parametrize("id", ["0", "-1", "abc", "1.0", "+1", "0x1", "1e3", "%20", "9223372036854775808", "9" * 20])
def test_what_is_no_id_is_not_found(http_client, problem, id):
    problem(http_client.get(f"{USERS}/{id}"), 404, "Not Found")


@pytest.mark.parametrize("method, body", [("GET", None), ("PUT", {"name": "A", "email": "nobody@example.com"}),
                                          ("PATCH", {"name": "A"}), ("PATCH", {}), ("DELETE", None)])
def test_no_such_user(http_client, problem, method, body):
    assert problem(http_client.request(method, f"{USERS}/9223372036854775807", body), 404)["detail"] == \
        "no user 9223372036854775807"


def test_head_is_get_without_the_body(http_client):
    user = http_client.new_user()
    for target in (path_of(user), USERS, "/ping"):
        got, head = http_client.get(target), http_client.request("HEAD", target)
        assert (head.status, head.body) == (200, b"")
        for name in ("Content-Type", "Content-Length", "Link"):
            assert head.headers[name] == got.headers[name], name


# ---- Lists ----


def test_an_empty_list(http_client, no_users):
    answer = http_client.get(USERS)
    assert answer.json == {"users": [], "next": None}
    assert answer.headers["Link"] is None


def test_pages_follow_each_other(http_client, no_users):
    users = [http_client.new_user() for _ in range(7)]
    seen, target, pages = [], f"{USERS}?limit=3", 0
    while target:
        answer = http_client.get(target)
        assert answer.status == 200
        page, pages = answer.json, pages + 1
        seen += page["users"]
        link = answer.headers["Link"]
        assert (link is None) == (page["next"] is None)
        if page["next"] is not None:
            assert page["next"] == str(page["users"][-1]["id"])
            target = re.fullmatch(r'<(/api/v1/users\?[^>]*)>; rel="next"', link)[1]
            assert f"after={page['next']}" in target and "limit=3" in target
        else:
            target = None
    assert pages == 3
    assert seen == users  # ascending id, and the same as when they were made


def test_a_last_page_that_is_full_has_no_next(http_client, no_users):
    users = [http_client.new_user() for _ in range(4)]
    assert http_client.get(f"{USERS}?limit=4").json == {"users": users, "next": None}
    assert http_client.get(f"{USERS}?limit=4&after={users[-1]['id']}").json == {"users": [], "next": None}


def test_limit(http_client, no_users, database):
    database.execute("INSERT INTO users (name, email) SELECT 'n', n || '@b.c' FROM generate_series(1, 120) AS n")
    assert len(http_client.get(USERS).json["users"]) == 20
    assert len(http_client.get(f"{USERS}?limit=1").json["users"]) == 1
    assert len(http_client.get(f"{USERS}?limit=100").json["users"]) == 100


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=-1", "limit=abc", "limit=", "limit=1.5", "limit=1e1",
                                   "limit=%31%30x", "limit=" + "9" * 20, "after=0", "after=-5", "after=x", "after=",
                                   "after=9223372036854775808", "limit=5&after=x"])
def test_bad_query(http_client, problem, query):
    bad = "after" if "after" in query else "limit"
    assert bad in problem(http_client.get(f"{USERS}?{query}"), 400, "Bad Request")["detail"]


@pytest.mark.parametrize("query", ["colour=red", "limit=%31%30", "limit=10&LIMIT=0", "&&limit=10&", "x=%00", "="])
def test_unknown_parameters_are_ignored(http_client, query):
    assert http_client.get(f"{USERS}?{query}").status == 200


# ---- Changes ----


def test_put_replaces(http_client):
    user = http_client.new_user()
    answer = http_client.put(path_of(user), {"name": "Grace", "email": "grace." + user["email"]})
    assert answer.status == 200
    changed = answer.json
    assert changed == user | {"name": "Grace", "email": "grace." + user["email"], "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > user["updated_at"]
    assert http_client.get(path_of(user)).json == changed


def test_put_needs_every_field(http_client, problem):
    user = http_client.new_user()
    faults = problem(http_client.put(path_of(user), {"name": "Grace"}), 422)["errors"]
    assert [fault["pointer"] for fault in faults] == ["/email"]
    assert http_client.get(path_of(user)).json == user


@pytest.mark.parametrize("content_type", ["application/merge-patch+json", "application/json",
                                          "Application/JSON; Charset=UTF-8", 'application/json; charset="utf-8"'])
@pytest.mark.parametrize("field", ["name", "email"])
def test_patch_one_field(http_client, content_type, field):
    user = http_client.new_user()
    value = "patched." + user["email"]
    answer = http_client.patch(path_of(user), {field: value}, headers={"Content-Type": content_type})
    assert answer.status == 200, answer
    assert answer.json == user | {field: value, "updated_at": answer.json["updated_at"]}
    assert http_client.get(path_of(user)).json == answer.json


def test_patch_of_nothing_changes_nothing(http_client):
    user = http_client.new_user()
    answer = http_client.patch(path_of(user), {})
    assert (answer.status, answer.json) == (200, user)


def test_patch_with_null_is_invalid(http_client, problem):
    user = http_client.new_user()
    faults = problem(http_client.patch(path_of(user), {"name": None, "email": None}), 422)["errors"]
    assert sorted(fault["pointer"] for fault in faults) == ["/email", "/name"]


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_taken_email(http_client, problem, method):
    ada, bob = http_client.new_user(), http_client.new_user()
    answer = http_client.request(method, path_of(bob), {"name": "Bob", "email": ada["email"].upper()})
    assert "email" in str(problem(answer, 409))
    assert http_client.get(path_of(bob)).json == bob
    same = http_client.request(method, path_of(bob), {"name": "Bob", "email": bob["email"].upper()})
    assert (same.status, same.json["email"]) == (200, bob["email"].upper())  # its own is not taken


def test_delete(http_client, problem):
    user = http_client.new_user()
    assert http_client.get(path_of(user)).status == 200
    answer = http_client.delete(path_of(user))
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (204, b"", None)
    problem(http_client.get(path_of(user)), 404)
    problem(http_client.delete(path_of(user)), 404)
    assert http_client.new_user(email=user["email"])["id"] > user["id"]


def test_a_user_with_orders_stays(http_client, problem):
    user = http_client.new_user()
    http_client.new_order(user)
    problem(http_client.delete(path_of(user)), 409, "Conflict")
    assert http_client.get(path_of(user)).json == user


# ---- The cache ----


def read_until_cached(http_client, memcached, target, eventually):
    def hit():
        before = memcached.counter("get_hits")
        assert http_client.get(target).status == 200
        return memcached.counter("get_hits") > before

    eventually(hit)


def test_a_user_is_read_through_the_cache(http_client, database, memcached, eventually):
    user = http_client.new_user()
    read_until_cached(http_client, memcached, path_of(user), eventually)
    database.execute("UPDATE users SET name = 'behind its back' WHERE id = %s", user["id"])
    assert http_client.get(path_of(user)).json == user


@pytest.mark.parametrize("method, body", [("PUT", {"name": "B", "email": "new-{id}@b.c"}), ("PATCH", {"name": "B"})])
def test_a_change_is_seen_at_once(http_client, memcached, eventually, method, body):
    user = http_client.new_user()
    read_until_cached(http_client, memcached, path_of(user), eventually)
    body = {key: value.format(id=user["id"]) for key, value in body.items()}
    changed = http_client.request(method, path_of(user), body).json
    for _ in range(5):  # whichever of the workers answers
        assert http_client.get(path_of(user)).json == changed
    read_until_cached(http_client, memcached, path_of(user), eventually)
    assert http_client.get(path_of(user)).json == changed


def test_a_deleted_user_is_gone_from_the_cache(http_client, memcached, eventually):
    user = http_client.new_user()
    read_until_cached(http_client, memcached, path_of(user), eventually)
    assert http_client.delete(path_of(user)).status == 204
    for _ in range(5):
        assert http_client.get(path_of(user)).status == 404
