"""docker-compose.yml as it is, one profile after the other, on images that are pulled or, without a registry, built."""
import pathlib
import signal
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "images")]
import images as image_builder  # noqa: E402
from project import Project  # noqa: E402


def pytest_configure():
    """An end that others ask for is orderly, too: containers, networks and volumes go."""
    def interrupt(*_):
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


@pytest.fixture(scope="session")
def images():
    return image_builder.images()


def running(images, profile):
    project = Project(images, profile)
    project.build()
    with project.running():
        yield project


@pytest.fixture(scope="module")
def behind_nginx(images):
    yield from running(images, "nginx,demo")


@pytest.fixture(scope="module")
def behind_apache(images):
    yield from running(images, "apache")
