"""Each web server in front of users-api, at its root and mounted below a prefix; or, with HOB_SUITE_URL, whatever
serves users-api there."""
import os
import urllib.parse

import pytest
import stack
from conftest import SUPPORT, Client

from . import apache, caddy, h2o, haproxy, lighttpd, nginx

SERVERS = [nginx.Nginx, nginx.NginxPerWorker, apache.ApacheProxyFcgi, apache.ApacheProxyFcgiReuse, apache.ApacheFcgid,
           apache.ApacheCgid, lighttpd.Lighttpd, lighttpd.LighttpdSpawn, lighttpd.LighttpdCgi, lighttpd.LighttpdCgiFcgi,
           caddy.Caddy, h2o.H2o, h2o.H2oSpawn, haproxy.HAProxy]
MOUNT = "/shop"
URL = urllib.parse.urlsplit(os.environ.get("HOB_SUITE_URL", ""))


class Elsewhere:
    """A service that is running already."""

    kind, workers_mode, workers, prevents = "elsewhere", "elsewhere", None, {}

    def __init__(self):
        self.mount = URL.path.rstrip("/")
        self.client = Client(URL.port, URL.hostname)


def started(place, settings, server, **options):
    """For a generator fixture: the server runs while it is suspended."""
    with stack.running(server(place, settings, **options)) as front:
        yield front


if URL.hostname:
    @pytest.fixture(scope="session")
    def front():
        return Elsewhere()

    @pytest.fixture(scope="session", params=[])
    def mirror():
        pass
else:
    @pytest.fixture(scope="session", params=[(server, mount) for server in SERVERS for mount in ("", MOUNT)],
                    ids=lambda param: f"{param[0].kind}{param[1]}")
    def front(request, place, settings):
        server, mount = request.param
        yield from started(place, settings | {"HOB_CACHE_PREFIX": "suite"}, server, mount=mount)

    @pytest.fixture(scope="session", params=SERVERS, ids=lambda server: server.kind)
    def mirror(request, place):
        """The server in front of support/mirror.c."""
        yield from started(place, {}, request.param, program=SUPPORT / "mirror")


@pytest.fixture
def unless_prevented():
    """unless_prevented(front, topic): skips, with the reason, what the server itself keeps from the application."""
    def look(front, topic):
        if topic in front.prevents:
            pytest.skip(f"{front.kind}: {front.prevents[topic]}")

    return look
