"""What a client may do wrong, and the answer to each."""
import json

import pytest

USERS = "/api/v1/users"
JSON = {"Content-Type": "application/json"}
GOOD = b'{"name":"Ada","email":"bad-input@example.com"}'
MAX_BODY = 1 << 20


def deep(levels):
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize("body, offset", [
    (b"{", 1),
    (b'{"name":"Ada",}', 14),
    (b"{'name':'Ada'}", 1),
    (b'{"name":NaN}', 8),
    (b'{"name":Infinity}', 8),
    (b'{"name":TRUE}', 8),
    (b'{"name":01}', 8),
    (b'{"name":1.}', 10),
    (b'{"name":.5}', 8),
    (b'{"name":+1}', 8),
    (b'{"name":1e}', 10),
    (b'{"name":"a\nb"}', 10),
    (b'{"name":"a\tb"}', 10),
    (b'{"name":"\\x41"}', None),
    (b'{"name":"\\u12G4"}', None),
    (b'{"name":"a"} x', 13),
    (b'{"name":"a"}{}', 12),
    (b'{"name" "a"}', 8),
    (b'{"name":"a","name":"b"}', None),
    (b'{"name":"a","n\\u0061me":"b"}', None),
    (b'{"name":"\xff"}', 9),
    (b'{"name":"\xc0\x80"}', 9),
    (b'{"name":"\xed\xa0\x80"}', 9),
    (b'{"name":"\xf5\x80\x80\x80"}', 9),
    (b'{"name":"\xe2\x82"}', 9),
    (b"\xef\xbb\xbf{}", 0),
    (b"/* comment */{}", 0),
    (b"nonsense", None),
    (b"   ", None),
    (deep(33), 32),
    (deep(100000), 32),
])
def test_what_is_no_json(http_client, problem, body, offset):
    detail = problem(http_client.post(USERS, body=body, headers=JSON), 400, "Bad Request")["detail"]
    assert any(ch.isdigit() for ch in detail), detail
    if offset is not None:
        assert f"{offset}" in detail


def test_an_empty_body(http_client, problem):
    problem(http_client.post(USERS, body=b"", headers=JSON), 400)


@pytest.mark.parametrize("value", ["1", "true", "null", '"text"', "[]", "[{}]", deep(32).decode()])
def test_json_that_is_no_object(http_client, problem, value):
    problem(http_client.post(USERS, body=value.encode(), headers=JSON), 422)


@pytest.mark.parametrize("body, pointers", [
    ({}, ["/email", "/name"]),
    ({"name": "", "email": ""}, ["/email", "/name"]),
    ({"name": " \t ", "email": "a@b"}, ["/name"]),
    ({"name": "n" * 101, "email": "a" * 250 + "@b.cd"}, ["/email", "/name"]),
    ({"name": "a\u0000b", "email": "a\u0000@b"}, ["/email", "/name"]),
    ({"name": "a\nb", "email": "a@b\n"}, ["/email", "/name"]),
    ({"name": "a\u007fb", "email": "a@b"}, ["/name"]),
    ({"name": None, "email": None}, ["/email", "/name"]),
    ({"name": 1, "email": ["a@b"]}, ["/email", "/name"]),
    ({"name": True, "email": {}}, ["/email", "/name"]),
    ({"name": "A", "email": "no at"}, ["/email"]),
    ({"name": "A", "email": "a@b@c"}, ["/email"]),
    ({"name": "A", "email": "@bc"}, ["/email"]),
    ({"name": "A", "email": "ab@"}, ["/email"]),
    ({"name": "A", "email": "a b@c"}, ["/email"]),
    ({"name": "A", "email": "a@b", "id": 1, "created_at": "x"}, ["/created_at", "/id"]),
    ({"name": "A", "email": "a@b", "age": 7, "a/b~c": 1}, ["/age", "/a~1b~0c"]),
    ({"name": 1, "mail": "a@b"}, ["/email", "/mail", "/name"]),
])
def test_all_faults_at_once(http_client, problem, body, pointers):
    document = problem(http_client.post(USERS, body), 422)
    assert sorted(fault["pointer"] for fault in document["errors"]) == pointers
    assert all(fault["detail"] for fault in document["errors"])


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize("content_type", [
    None, "", "text/plain", "text/json", "application/x-www-form-urlencoded", "application/jsonp", "application",
    "application/json; charset=latin1", "application/json; charset=utf-16",
])
def test_content_types(http_client, problem, method, content_type):
    target = USERS if method == "POST" else f"{USERS}/{http_client.new_user()['id']}"
    headers = {} if content_type is None else {"Content-Type": content_type}
    problem(http_client.request(method, target, body=GOOD, headers=headers), 415, "Unsupported Media Type")


def test_merge_patch_is_for_patch_only(http_client, problem):
    problem(http_client.post(USERS, body=GOOD, headers={"Content-Type": "application/merge-patch+json"}), 415)


def padded(size):
    return GOOD[:-1] + b" " * (size - len(GOOD)) + b"}"


def chunks(body):
    return (body[at:at + 10000] for at in range(0, len(body), 10000))


@pytest.mark.parametrize("send", [bytes, chunks], ids=["declared", "chunked"])
def test_the_largest_body_and_one_byte_more(http_client, problem, send):
    answer = http_client.post(USERS, body=send(padded(MAX_BODY)), headers=JSON)
    assert answer.status == 201, answer
    assert http_client.delete(answer.headers["Location"]).status == 204
    for size in (MAX_BODY + 1, 4 * MAX_BODY):
        problem(http_client.post(USERS, body=send(padded(size)), headers=JSON), 413)
    assert http_client.get("/ping").status == 200


def test_the_limit_can_be_set(app_with, problem):
    client = app_with({"HOB_MAX_BODY": "64"}).client
    assert client.post(USERS, body=padded(64), headers=JSON).status == 201
    problem(client.post(USERS, body=padded(65), headers=JSON), 413)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_body_where_none_is_expected_disturbs_nothing(http_client, method):
    """Unread, it would be taken for the next request on the kept connection."""
    user = http_client.new_user()
    for _ in range(10):
        answer = http_client.request(method, f"{USERS}/{user['id']}", body=b"\x01\x01\x00\x01" * 5000, headers=JSON)
        assert answer.status in ((200,) if method == "GET" else (204, 404)), answer
        assert http_client.get("/ping").json == {"message": "pong"}


@pytest.mark.parametrize("path", ["/api/v1/users/%ff", "/%c0%80", "/%ed%a0%80", "/api/v1/users/1%fe/orders"])
def test_paths_of_invalid_utf8(http_client, problem, path):
    problem(http_client.get(path), 400)


@pytest.mark.parametrize("path", ["/%", "/%4", "/%zz", "/api/v1/users/%00"])
def test_paths_that_cannot_be_decoded(http_client, path):
    """nginx knows these itself, so the words may be its own."""
    assert http_client.get(path).status == 400


@pytest.mark.parametrize("path", ["/api/v1/users/%e2%82%ac", "/pi%6eg/x", "/api/v1/users%2F1", "/API/v1/users",
                                  "/api/v1/users/1/", "/api/v1//users"])
def test_paths_that_lead_nowhere(http_client, problem, path):
    problem(http_client.get(path), 404)


def test_a_path_is_decoded_once(http_client):
    user = http_client.new_user()
    encoded = "".join(f"%{ord(ch):02x}" for ch in str(user["id"]))
    assert http_client.get(f"/%61pi/v1/users/{encoded}").json == user
    assert http_client.get("/pi%256eg").status == 404


def test_answers_are_json_whatever_was_sent(http_client):
    """Text of the client within a problem is escaped."""
    answer = http_client.post(USERS, {'"\\\u2028</script>': 1})
    assert json.loads(answer.body.decode())["status"] == 422
