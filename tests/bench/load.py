"""Load by wrk: as much as `connections` clients can ask that each wait for their answer."""
import json
import os
import pathlib
import resource
import subprocess
import time

import processes
import stack

SCRIPT = pathlib.Path(__file__).with_name("load.lua")
SAMPLE_SECONDS = 0.5


def _own_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _parts(stage, peer):
    return {"side": peer.roots(), "service": peer.roots()[:1],
            "database": [stage.database.process.pid], "cache": [stage.cache.process.pid]}


def _cpu(parts):
    return {name: processes.cpu_seconds(processes.tree(roots)) for name, roots in parts.items()}


def watched(stage, peer, argv, seconds):
    """Runs a load generator. Gives its output; the CPU seconds of each part meanwhile; the peak memory of the side, and
    of its service without nginx; and which share of the machine others took."""
    parts = _parts(stage, peer)
    before, own, busy, started = _cpu(parts), _own_children(), processes.busy_seconds(), time.monotonic()
    memory = dict.fromkeys(("side", "service"), 0)
    with subprocess.Popen([str(a) for a in argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + seconds + 30
        while process.poll() is None:
            if time.monotonic() > end:
                process.kill()
                raise stack.Failure(f"{argv[0]} did not end")
            time.sleep(SAMPLE_SECONDS)
            for part, peak in memory.items():
                memory[part] = max(peak, processes.memory_bytes(processes.tree(parts[part])))
        output, complaints = process.communicate()
    if process.returncode:
        raise stack.Failure(f"{argv[0]}: {complaints.strip() or output.strip()}")
    after = _cpu(parts)
    used = {name: after[name] - before[name] for name in parts} | {"load": _own_children() - own}
    ours = sum(used.values()) - used["service"]  # which is in the side
    capacity = (time.monotonic() - started) * os.cpu_count()
    others = max(0, (processes.busy_seconds() - busy - ours) / capacity)
    return output, used, memory, others


def wrk(stage, peer, workload, connections, seconds):
    """One measurement: rates a second, times in ms, CPU microseconds a request."""
    file = workload.file
    target = "" if file else workload.requests()[0].split()[1]
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", SCRIPT, peer.url(target)]
    output, used, memory, others = watched(stage, peer, argv + (["--", file] if file else []), seconds)
    told = json.loads(output.strip().splitlines()[-1])
    requests = max(told["requests"], 1)
    if workload.writes:
        stage.forget_new_orders()
    return {"rate": told["requests"] / (told["duration"] / 1e6),
            "errors": {kind: count for kind, count in told["errors"].items() if count},
            **{p: told[p] / 1000 for p in ("p50", "p90", "p99", "p999", "max")},
            "cpu": {name: value / requests * 1e6 for name, value in used.items()}, "memory": memory,
            "others": others}
