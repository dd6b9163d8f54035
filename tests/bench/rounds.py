"""The method: all peers in turn, a round after another, each round beginning with another peer; then medians."""
import collections
import statistics

import ceilings
import load


def turns(names, rounds):
    """(round, name), interleaved."""
    for turn in range(rounds):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            yield turn, name


def interleaved(stage, workload, names, connections, plan):
    """Peer's name -> its measurements, one a round. Only one peer is loaded at a time."""
    samples = {name: [] for name in names}
    for name in names:
        stage.fill(name, workload)
    for turn, name in turns(names, plan.rounds):
        if name == ceilings.PGBENCH:
            samples[name].append({"rate": ceilings.pgbench(stage, workload, plan.seconds)})
            continue
        peer = stage.peer(name, workload)
        if turn == 0:
            load.wrk(stage, peer, workload, connections, plan.warm_seconds)
        samples[name].append(load.wrk(stage, peer, workload, connections, plan.seconds))
    return samples


def spread(values):
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def summarise(samples):
    """One peer's measurements as one: median, least and greatest of each figure."""
    errors = collections.Counter()
    for sample in samples:
        errors.update(sample.get("errors", {}))
    figures = {}
    for key, value in samples[0].items():
        if isinstance(value, dict) and key != "errors":
            figures[key] = {part: spread([s[key][part] for s in samples]) for part in value}
        elif key != "errors":
            figures[key] = spread([s[key] for s in samples])
    return {"errors": dict(errors)} | figures


def ratio(ours, theirs, figure="rate"):
    """Round by round: what disturbs the machine for long disturbs both."""
    return spread([a[figure] / b[figure] for a, b in zip(ours, theirs, strict=True)])
