"""The web servers' own checks of the files in conf/, with nothing but paths and ports changed: a copied file starts."""
import re

import pytest
from conftest import ROOT

from .conftest import SERVERS, URL

pytestmark = pytest.mark.skipif(bool(URL.hostname), reason="conf/ is not what is served there")


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.kind)
def test_the_shipped_files(server, place, settings):
    front = server(place, settings)
    front.configure()
    status, said = front.check()
    assert status == 0, said
    assert "warn" not in said.lower(), said


def test_the_readme_lists_them():
    table = re.search(r"<!-- servers -->\n(.*)<!-- /servers -->", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert {row[0] for row in rows} | {"nginx, a socket per worker"} == {server.kind for server in SERVERS}
    prevented = {row[0] for row in rows if row[-1]}
    assert prevented >= {server.kind for server in SERVERS if server.prevents}
