"""What no service behind nginx can exceed, or, for the database, what one that asks each question alone can't."""
import re
import socket
import subprocess

import answers
import peers
import stack
import workloads

RETURN_200 = """location = /ping {
            return 200 '{"message":"pong"}';
        }"""
MEMCACHED_PASS = """location ~ ^/api/v1/users/(?<id>[0-9]+)$ {
            set $memcached_key "ceiling:user:$id";
            memcached_pass service;
        }"""
CLIENTS = 8
USER = "SELECT id, name, email, created_at, updated_at FROM users WHERE id = :user;"
STATEMENTS = {
    "uncached": f"\\set user random(1, 10000)\n{USER}\n",
    "list": "\\set after random(1, 9900)\n"
            "SELECT id, name, email, created_at, updated_at FROM users WHERE id > :after ORDER BY id LIMIT 101;\n",
    "summary": "\\set user random(1, 10000)\n\\startpipeline\n" + USER + "\n"
               "SELECT id, user_id, total_cents, created_at FROM orders"
               " WHERE user_id = :user AND id < 9223372036854775807 ORDER BY id DESC LIMIT 10;\n"
               "SELECT count(*) AS orders, coalesce(sum(total_cents), 0)::bigint AS cents FROM orders"
               " WHERE user_id = :user;\n\\endpipeline\n",
    "order": "\\set user random(10001, 20000)\n\\set quantity random(1, 9)\nBEGIN;\n"
             "INSERT INTO orders (user_id, total_cents) VALUES (:user, 999)"
             " RETURNING id, user_id, total_cents, created_at \\gset\n"
             "INSERT INTO order_items (order_id, position, sku, quantity, unit_price_cents)"
             " SELECT :id, position, sku, quantity, price"
             " FROM unnest(ARRAY['cup', 'kettle'], ARRAY[:quantity, 1]::bigint[], ARRAY[199, 601]::bigint[])"
             " WITH ORDINALITY AS item (sku, quantity, price, position)"
             " ORDER BY position RETURNING sku, quantity, unit_price_cents;\nCOMMIT;\n",
}


LOCATIONS = {"return-200": RETURN_200, "memcached-pass": MEMCACHED_PASS}
PGBENCH = "pgbench"
NO_WORK = "no-work"


class NginxAlone(peers.Peer):
    def __init__(self, place, name, upstream, options):
        nginx = peers.Nginx(place, f"nginx-{name}", upstream, LOCATIONS[name], options.nginx_workers)
        super().__init__(name, None, [nginx], nginx.port)

    def start(self):
        self.daemons[0].start()


def no_work(place, options):
    """A FastCGI service that does nothing but read and write."""
    listen = place.sockets / "no-work.sock"
    service = peers.Service(place, NO_WORK, [options.no_work_binary, listen], {}, listen)
    return peers.behind_nginx(place, NO_WORK, None, service, peers.FASTCGI, options)


def alone(name, stage):
    """The ceiling of that name as a peer; None for pgbench, which is none."""
    if name == NO_WORK:
        return no_work(stage.place, stage.options)
    return NginxAlone(stage.place, name, stage.cache.socket_path, stage.options) if name in LOCATIONS else None


def store_users(cache, peer):
    """Every user's JSON, as the peer answers it, for memcached_pass."""
    with answers.Client(peer) as client, socket.socket(socket.AF_UNIX) as s:
        s.connect(str(cache.socket_path))
        for user in workloads.READ_USERS:
            body = client.ask("GET", f"/api/v1/users/{user}")[2]
            s.sendall(b"set ceiling:user:%d 0 0 %d noreply\r\n%s\r\n" % (user, len(body), body))


def pgbench(stage, workload, seconds):
    """Transactions a second of a workload's statements, prepared, each client on a unix socket."""
    script = stage.place.path / f"{workload.name}.pgbench"
    script.write_text(STATEMENTS[workload.name])
    argv = [stage.database.programs / "pgbench", "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "1",
            "-T", str(seconds), "-f", script, stage.database.url]
    done = subprocess.run(argv, env=stack.base_environment(), capture_output=True, text=True, timeout=seconds + 30)
    if workload.writes:
        stage.forget_new_orders()
    found = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise stack.Failure(f"pgbench: {done.stderr.strip()}")
    return float(found[1])
