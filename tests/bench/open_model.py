"""Open model, by vegeta: requests come at a constant rate, whether or not the answers do, so that waiting counts."""
import base64
import json
import subprocess

import load
import rounds

CLIENTS = 64
MOST_CLIENTS = 512  # beyond, requests are late
ROUNDS = 3
SHARE = 0.7  # of what the slowest can do
LATENCIES = {"p50": "50th", "p90": "90th", "p99": "99th", "max": "max"}  # in vegeta's words
JSON = {"Content-Type": ["application/json"]}


def _targets(stage, peer, workload):
    path = stage.place.path / f"{peer.name}-{workload.name}.targets"
    with open(path, "w") as file:
        for request in workload.requests():
            method, target, *body = request.split(" ", 2)
            line = {"method": method, "url": peer.url(target)}
            if body:
                line |= {"header": JSON, "body": base64.b64encode(body[0].encode()).decode()}
            file.write(json.dumps(line) + "\n")
    return path


def attack(stage, peer, workload, rate, seconds):
    """rate 0: as fast as CLIENTS clients that wait for each other's answers can."""
    output = stage.place.path / "vegeta.results"
    argv = [stage.options.tools / "vegeta", "attack", "-format=json", f"-targets={_targets(stage, peer, workload)}",
            f"-rate={rate}", f"-duration={seconds}s", f"-output={output}", "-timeout=10s", f"-workers={CLIENTS}",
            f"-connections={MOST_CLIENTS}", f"-max-workers={MOST_CLIENTS if rate else CLIENTS}"]
    _, used, memory, others = load.watched(stage, peer, argv, seconds)
    done = subprocess.run([argv[0], "report", "-type=json", output], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    if workload.writes:
        stage.forget_new_orders()
    answered = sum(count for status, count in told["status_codes"].items() if status.startswith("2"))
    failed = told["requests"] - answered
    return {"rate": told["throughput"], "errors": {"failed": failed} if failed else {},
            "memory": memory, "others": others,
            **{name: told["latencies"][key] / 1e6 for name, key in LATENCIES.items()},
            "cpu": {name: value / told["requests"] * 1e6 for name, value in used.items()}}


def samples(stage, workload, names, seconds):
    """The rate, and each peer's measurements at it, interleaved as in rounds.py."""
    peers = {name: stage.peer(name, workload) for name in names}
    for name in names:
        stage.fill(name, workload)
    most = {name: attack(stage, peer, workload, 0, 2)["rate"] for name, peer in peers.items()}
    rate = int(SHARE * min(most.values()))
    found = {name: [] for name in names}
    for _, name in rounds.turns(names, ROUNDS):
        found[name].append(attack(stage, peers[name], workload, rate, seconds))
    return rate, found
