"""What all peers share: one PostgreSQL, one memcached, one set of data. And the peers that are to be measured."""
import contextlib
import pathlib

import answers
import ceilings
import peers
import stack

# Of a server that is used: memory for all of the data. No vacuum and no checkpoint may fall into one peer's turn.
DATABASE_SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "1h", "autovacuum": "off"}


class Stage:
    def __init__(self, directory, options):
        self.options = options
        self.resources = contextlib.ExitStack()
        self.place = stack.Place(directory)
        self.resources.callback(self.place.close)
        self.peers, self.alone, self.filled = {}, {}, set()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        return self.resources.__exit__(*failure)

    def _run(self, daemon):
        self.resources.callback(daemon.stop)
        daemon.start()
        return daemon

    def start(self, names, workloads):
        self.database = self._run(stack.Postgres(self.place, DATABASE_SETTINGS))
        stack.migrate(self.options.binary, self.database)
        self.database.psql("-1", "-f", str(pathlib.Path(__file__).with_name("data.sql")))
        self.database.psql("-c", "VACUUM ANALYZE")
        self.first_new_order = int(self.database.psql("-c", "SELECT max(id) + 1 FROM orders"))
        self.cache = self._run(stack.Memcached(self.place))
        for variant in sorted({w.variant for w in workloads}):
            for name in names:
                self.peers[name, variant] = self._run(self._peer(name, variant))
        answers.check_equal(list(self.peers.values()))
        self.forget_new_orders()
        if self.options.ceilings:
            self._start_ceilings(workloads)
        for workload in workloads:
            workload.write(self.place.path)

    def _peer(self, name, variant):
        if name in self.options.hobs:
            return peers.hob(self.place, variant, self, self.options, self.options.hobs[name])
        if name not in peers.KINDS:
            raise stack.Failure(f"no peer is called {name}: {', '.join([*self.options.hobs, *peers.KINDS])}")
        return peers.KINDS[name](self.place, variant, self, self.options)

    def _start_ceilings(self, workloads):
        for name in sorted({name for w in workloads for name in w.ceilings}):
            ceiling = ceilings.alone(name, self)
            if ceiling:
                self.alone[name] = self._run(ceiling)
        if "memcached-pass" in self.alone:
            ceilings.store_users(self.cache, next(iter(self.peers.values())))

    def peer(self, name, workload):
        return self.alone.get(name) or self.peers[name, workload.variant]

    def fill(self, name, workload):
        """So that nothing that the workload reads is missing in the cache."""
        key = name, workload.variant
        if workload.cached and key in self.peers and key not in self.filled:
            answers.fill(self.peers[key], workload)
            self.filled.add(key)

    def forget_new_orders(self):
        """The next peer finds the tables as the one before found them."""
        for table, column in (("order_items", "order_id"), ("orders", "id")):
            self.database.psql("-c", f"DELETE FROM {table} WHERE {column} >= {self.first_new_order}")
            self.database.psql("-c", f"VACUUM {table}")
