"""Workers on one socket, started again when they die, with memcached servers that can be frozen and killed."""
import contextlib
import heapq
import itertools
import random
import signal
import socket
import subprocess
import time

import stack

ITEMS = 4  # as in items.h
counter = itertools.count(1)


class Worker(stack.Daemon):
    """Its listening socket, which it shares with others, outlives it."""

    def __init__(self, place, name, program, listening, environment):
        self.name = name
        super().__init__(place)
        self.program, self.listening, self.environment = program, listening, environment

    def start(self):
        self.spawn([self.program], stdin=self.listening, env=stack.base_environment() | self.environment)

    def start_again_when_killed(self):
        """Whether it was. A worker that ended in any other way is a fault of its own."""
        if self.alive():
            return False
        status = self.process.returncode
        assert status == -signal.SIGKILL, f"{self.name} ended with {status}: {self.log()[-4000:]}"
        self.start()
        return True


class Service:
    def __init__(self, place, program, memcached, environment, workers=4):
        self.place, self.memcached = place, memcached
        name = f"items-{next(counter):03}"
        self.socket_path = place.sockets / f"{name}.sock"
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(self.socket_path))
        self.listening.listen(1024)
        environment = {"HOB_CACHE": ",".join(str(m.socket_path) for m in memcached)} | environment
        self.workers = [Worker(place, f"{name}-{n}", program, self.listening, environment) for n in range(workers)]

    def start(self):
        for worker in self.workers:
            worker.start()

    def stop(self):
        for worker in self.workers:
            worker.stop()
        self.listening.close()

    def log(self):
        return "".join(worker.log() for worker in self.workers)


class Nemesis:
    """Does harm at random. kinds: (weight, method, least ms, most ms): how often, and how long until it is repaired.
    What it did is in events."""

    def __init__(self, service, seed, kinds, pause_ms):
        self.service, self.random = service, random.Random(seed)
        self.kinds, self.pause_ms = kinds, pause_ms
        self.events, self.repairs = [], []
        self.busy = set()  # what is frozen or down

    def note(self, what):
        self.events.append((time.monotonic_ns(), what))

    def kill_worker(self, _):
        worker = self.random.choice(self.service.workers)
        self.note(f"{worker.name} killed")
        with contextlib.suppress(ProcessLookupError):
            worker.process.kill()

    def freeze_worker(self, ms):
        self.freeze(self.random.choice(self.service.workers), ms)

    def freeze_memcached(self, ms):
        self.freeze(self.random.choice(self.service.memcached), ms)

    def restart_memcached(self, ms):
        """Down for so long."""
        memcached = self.random.choice(self.service.memcached)
        if memcached in self.busy:
            return
        self.busy.add(memcached)
        self.note(f"{memcached.name} killed")
        memcached.stop()
        self.repair_after(ms, self.start, memcached)

    def freeze(self, daemon, ms):
        if daemon in self.busy:
            return
        self.busy.add(daemon)
        process = daemon.process
        self.note(f"{daemon.name} frozen for {ms} ms")
        process.send_signal(signal.SIGSTOP)
        self.repair_after(ms, self.thaw, daemon, process)

    def thaw(self, daemon, process):
        process.send_signal(signal.SIGCONT)  # nothing, when it has been killed meanwhile
        self.busy.discard(daemon)
        self.note(f"{daemon.name} thawed")

    def start(self, memcached):
        memcached.start()
        self.busy.discard(memcached)
        self.note(f"{memcached.name} started")

    def repair_after(self, ms, fn, *arguments):
        heapq.heappush(self.repairs, (time.monotonic() + ms / 1000, next(counter), fn, arguments))

    def repair(self, all_of_it=False):
        while self.repairs and (all_of_it or self.repairs[0][0] <= time.monotonic()):
            *_, fn, arguments = heapq.heappop(self.repairs)
            fn(*arguments)
        for worker in self.service.workers:
            if worker.start_again_when_killed():
                self.note(f"{worker.name} started")

    def run(self, still_wanted):
        due = 0
        while still_wanted():
            self.repair()
            if self.kinds and time.monotonic() >= due:
                (_, harm, *span), = self.random.choices(self.kinds, [weight for weight, *_ in self.kinds])
                getattr(self, harm)(self.random.randint(*span))
                due = time.monotonic() + self.random.randint(*self.pause_ms) / 1000
            time.sleep(0.002)
        self.repair(all_of_it=True)


def load(program, service, nemesis, seconds, seed, items=ITEMS, threads=12, **per_mille):
    """What items_load wrote, after so many seconds under the nemesis."""
    arguments = [program, service.socket_path, seconds, seed, threads, items]
    arguments += [f"{name.replace('_', '-')}={share}" for name, share in per_mille.items()]
    with open(service.place.path / f"load-{next(counter):03}", "w+") as out:
        process = subprocess.Popen([str(a) for a in arguments], stdout=out)
        try:
            nemesis.run(lambda: process.poll() is None)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0, f"items_load ended with {process.returncode}"
        out.seek(0)
        return out.read()
