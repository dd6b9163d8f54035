"""The web servers' own checks of the files in conf/, with nothing but paths and ports changed: a copied file starts."""
from .conftest import SERVERS, URL

import pytest

pytestmark = pytest.mark.skipif(bool(URL.hostname), reason="conf/ is not what is served there")


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.kind)
def test_the_shipped_files(server, place, settings):
    front = server(place, settings)
    front.configure()
    status, said = front.check()
    assert status == 0, said
    assert "warn" not in said.lower(), said
