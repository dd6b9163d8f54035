"""`make run`: users-api with a database, a cache and a web server of its own, until Ctrl-C.

HOB_RUN_PORT (8080) is the port on 127.0.0.1, WORKERS (one a core) the number of workers; other HOB_ settings are passed
on to the workers.
"""
import contextlib
import os
import signal
import socket
import sys
import time

import stack

RUN = stack.ROOT / ".run"
BINARY = stack.ROOT / "build/users-api"


def number(name, default, low, high):
    text = os.environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise stack.Failure(f"{name}={text}: not a number from {low} to {high}")
    return int(text)


def check_port(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError as error:
            raise stack.Failure(f"port {port} of 127.0.0.1: {error.strerror}; "
                                f"another one: make run HOB_RUN_PORT={port % 65535 + 1}") from None


def load_demo(database):
    if database.psql("-c", "SELECT EXISTS (SELECT FROM users)") == "f":
        print("loading demo data: 1,000 users, 10,000 orders", flush=True)
        database.psql("-1", "-f", str(stack.ROOT / "app/demo.sql"))


def worker_environment(database, cache):
    own = {k: v for k, v in os.environ.items() if k.startswith("HOB_") and k != "HOB_RUN_PORT"}
    return own | {"DATABASE_URL": database.url, "HOB_CACHE": str(cache.socket_path), "HOB_LOG": str(RUN / "worker.log")}


def start(resources, port, count):
    """The daemons, started; resources stops them, last first."""
    def run(daemon):
        daemon.log_path.unlink(missing_ok=True)
        resources.callback(daemon.stop)
        daemon.start()
        return daemon

    place = stack.Place(RUN)
    resources.callback(place.close)
    check_port(port)
    database = run(stack.Postgres(place))
    stack.migrate(BINARY, database)
    load_demo(database)
    cache = run(stack.Memcached(place))
    workers = run(stack.Workers(place, BINARY, count, worker_environment(database, cache)))
    nginx = run(stack.Nginx(place, port, workers.socket_path))
    try:
        stack.wait_ready(port)
    except stack.Failure as failure:
        raise stack.Failure(f"{failure}; the workers' log is {workers.log_path}") from None
    return database, cache, workers, nginx


def greet(port, count):
    url = f"http://127.0.0.1:{port}"
    body = '{"name":"Ada","email":"ada@example.com"}'
    print(f"users-api is ready: {url}  (workers: {count}; data and logs: .run/; Ctrl-C stops it)\n"
          f"  curl {url}/api/v1/users/1\n"
          f"  curl '{url}/api/v1/users?limit=3'\n"
          f"  curl -H 'Content-Type: application/json' -d '{body}' {url}/api/v1/users", flush=True)


def watch(daemons):
    """Says once what has ended by itself; comes back when no worker is left."""
    workers = next(d for d in daemons if isinstance(d, stack.Workers))
    running = {d.name: d.alive() for d in daemons}
    while workers.alive():
        time.sleep(0.5)
        for daemon in daemons:
            now = daemon.alive()
            if now != running[daemon.name]:
                print(f"{daemon.name} ended, see {daemon.log_path}", file=sys.stderr, flush=True)
                running[daemon.name] = now
    raise stack.Failure(f"no worker is left, see {workers.log_path}")


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt(*_):
    for sig in SIGNALS:
        signal.signal(sig, signal.SIG_IGN)  # stopping takes a moment, and is not interrupted
    raise KeyboardInterrupt


def main():
    for sig in SIGNALS:
        signal.signal(sig, interrupt)
    try:
        with contextlib.ExitStack() as resources:
            port, count = number("HOB_RUN_PORT", 8080, 1, 65535), number("WORKERS", os.cpu_count(), 1, 1000)
            daemons = start(resources, port, count)
            greet(port, count)
            watch(daemons)
    except KeyboardInterrupt:
        print("stopped", flush=True)
        return 0
    except (stack.Failure, OSError) as failure:
        print(f"make run: {failure}", file=sys.stderr)
        return 1


sys.exit(main())
