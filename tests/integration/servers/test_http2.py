"""HTTP/2 over TLS and in clear text, by the servers that speak it.

HTTP2_REQUESTS (5000): how many h2load sends each way.
"""
import os
import re
import subprocess

import pytest

from .conftest import SERVERS, URL, started

pytestmark = pytest.mark.skipif(bool(URL.hostname), reason="its ports are not known")
REQUESTS = int(os.environ.get("HTTP2_REQUESTS") or 5000)


@pytest.fixture(scope="module", params=[server for server in SERVERS if server.http2], ids=lambda server: server.kind)
def front(request, place, settings):
    yield from started(place, settings | {"HOB_CACHE_PREFIX": "http2"}, request.param)


@pytest.fixture(params=["TLS", "clear text"])
def base(request, front):
    return f"https://127.0.0.1:{front.tls_port}" if request.param == "TLS" else f"http://127.0.0.1:{front.h2c_port}"


def curl(url, *arguments):
    version = ["--http2", "-k"] if url.startswith("https") else ["--http2-prior-knowledge"]
    done = subprocess.run(["curl", "-sS", *version, "-w", "\n%{http_version} %{http_code}", *arguments, url],
                          capture_output=True, text=True, timeout=30, check=True)
    body, _, last = done.stdout.rpartition("\n")
    assert last.split()[0] == "2", done.stdout
    return int(last.split()[1]), body


def test_curl(base):
    assert curl(f"{base}/ping") == (200, '{"message":"pong"}')
    status, body = curl(f"{base}/api/v1/users", "-H", "Content-Type: application/json", "-d", '{"name":""}')
    assert status == 422 and '"/email"' in body
    assert curl(f"{base}/ping", "-I")[0] == 200


def test_a_body_of_a_mebibyte(base, tmp_path):
    (tmp_path / "body").write_bytes(b'{"name":"x"}'.ljust(1024 * 1024))
    status, _ = curl(f"{base}/api/v1/users", "-H", "Content-Type: application/json", "--data-binary", f"@{tmp_path}/body")
    assert status == 422


def test_h2load(base, front):
    front.client.new_user()
    user = front.client.get("/api/v1/users?limit=1").json["users"][0]["id"]
    done = subprocess.run(["h2load", "-n", str(REQUESTS), "-c", "8", "-m", "16", f"{base}/api/v1/users/{user}"],
                          capture_output=True, text=True, timeout=120)
    assert re.search(rf"{REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout", done.stdout), done.stdout + done.stderr
    assert re.search(rf"status codes: {REQUESTS} 2xx", done.stdout), done.stdout
