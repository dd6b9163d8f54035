"""A database that is reached by name, while the name server is silent: as Docker's is about a container that is down."""
import ipaddress
import os
import socket
import struct
import threading
import time

import pytest
from conftest import BINARY, NOT_SAFE, Database, migrated
from fcgi_client import Connection

NAME = "database.test"
ADDRESS = str(ipaddress.IPv4Address("127.1.0.0") + os.getpid() % 2**23)


class NameServer(threading.Thread):
    """Says that NAME is ADDRESS, unless it is silent. At its end it says what it has not yet."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((ADDRESS, 53))
        self.silent, self.asked, self.unanswered = False, 0, []
        self.start()

    def run(self):
        while True:
            query, client = self.socket.recvfrom(512)
            if not query:
                return
            self.asked += 1
            self.unanswered.append((query, client))
            if not self.silent:
                self.answer(*self.unanswered.pop())

    def answer(self, query, client):
        """RFC 1035, sections 4.1.1 and 4.1.3. There is an A record, and no other."""
        question = query[12:query.index(b"\0", 12) + 5]
        known = int(question == b"".join(bytes([len(p)]) + p.encode() for p in NAME.split(".")) + b"\0\0\1\0\1")
        record = struct.pack(">HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(ADDRESS)
        header = query[:2] + struct.pack(">HHHHH", 0x8180, 1, known, 0, 0)
        self.socket.sendto(header + question + record * known, client)

    def stop(self):
        self.socket.sendto(b"", self.socket.getsockname())
        self.join()
        for query, client in self.unanswered:
            self.answer(query, client)
        self.socket.close()


@pytest.fixture(scope="module")
def named_database(place):
    """On its usual port, which is why it has an address of its own."""
    yield from migrated(Database(place, NOT_SAFE | {"listen_addresses": ADDRESS}, name="postgresql-named"))


@pytest.fixture
def names():
    if os.geteuid() != 0:
        pytest.skip("port 53, and a resolv.conf in a mount namespace, are root's")
    server = NameServer()
    yield server
    server.stop()


@pytest.fixture
def worker(worker_with, named_database, names, tmp_path):
    """worker(**environment): one for which the name server is the only one."""
    (tmp_path / "resolv.conf").write_text(f"nameserver {ADDRESS}\n")
    program = tmp_path / "worker"
    program.write_text(f"#!/bin/sh\nexec unshare --mount sh -euc 'mount --bind {tmp_path}/resolv.conf /etc/resolv.conf\n"
                       f"exec {BINARY}'\n")
    program.chmod(0o755)
    url = f"postgresql://{named_database.role}@{NAME}/{named_database.database}"
    return lambda **environment: worker_with({"DATABASE_URL": url, "HOB_CACHE": None} | environment, program=program)


def status(worker):
    with Connection(worker.socket_path) as connection:
        return connection.ask(target="/api/v1/users/1").status


def test_what_a_name_was_serves_while_it_is_looked_up_again(worker, named_database, names, eventually):
    worker = worker(RES_OPTIONS="timeout:60")
    of_the_worker = "FROM pg_stat_activity WHERE application_name ^@ 'users-api'"
    eventually(lambda: len(named_database.execute(f"SELECT pid {of_the_worker}")) == 4)
    names.silent = True
    named_database.execute(f"SELECT pg_terminate_backend(pid) {of_the_worker} LIMIT 2")
    eventually(lambda: len({client for _, client in names.unanswered}) == 2)  # a port for each look-up
    named_database.stop()
    eventually(lambda: status(worker) == 503)
    time.sleep(0.5)
    named_database.start()
    eventually(lambda: status(worker) == 404)
    assert names.silent and "has no address" not in worker.log()


def test_a_silent_name_server_is_asked_again_soon(worker, names, eventually):
    """Nobody asks the worker meanwhile, so it has one look-up under way."""
    names.silent = True
    worker = worker()
    eventually(lambda: names.asked)
    time.sleep(0.3)  # for both, A and AAAA
    names.silent, asked = False, names.asked
    eventually(lambda: names.asked > asked, seconds=3)
    eventually(lambda: status(worker) == 404, seconds=3)
