"""`make bench`: hob behind nginx against its peers, on one PostgreSQL, one memcached, the same data.

The load generator and everything else share the machine, so the ratios say more than the numbers. Ends with status 1
when a single request failed, or hob or Go did not keep up with a constant rate. HOB_ settings of the environment are
passed on to hob's workers.
"""
import contextlib
import pathlib
import signal
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "conf/dev"))
import ceilings  # noqa: E402
import open_model  # noqa: E402
import options as command_line  # noqa: E402
import processes  # noqa: E402
import report  # noqa: E402
import results as files  # noqa: E402
import rounds  # noqa: E402
import stack  # noqa: E402
import stage  # noqa: E402
import user_day  # noqa: E402
import verdict  # noqa: E402
import workloads  # noqa: E402

OPEN_PEERS = DAY_PEERS = ("hob", "go", "go-nginx")


def summed_up(workload, samples, connections=None, rate=None):
    ratios = {}
    if "hob" in samples and rate is None:
        for name in samples.keys() - {"hob", ceilings.PGBENCH}:
            target = workload.targets.get(name) if connections == verdict.CONNECTIONS else None
            r = rounds.ratio(samples["hob"], samples[name])
            ratios[name] = r | {"target": target, "met": r["median"] >= target if target else None}
    return {"workload": workload.name, "title": workload.title, "connections": connections, "rate": rate,
            "peers": {name: rounds.summarise(s) for name, s in samples.items()},
            "ratios": {name: ratios[name] for name in samples if name in ratios}}


def closed(theatre, workload, connections, options):
    names = list(options.peers)
    if options.ceilings and connections == verdict.CONNECTIONS:
        names += workload.ceilings
    return summed_up(workload, rounds.interleaved(theatre, workload, names, connections, options), connections)


def constant(theatre, workload, options):
    names = [name for name in options.peers if name in OPEN_PEERS]
    rate, samples = open_model.samples(theatre, workload, names, options.open_seconds)
    return summed_up(workload, samples, rate=rate)


def hold(theatre, chosen):
    for (name, variant), peer in theatre.peers.items():
        print(f"{name} {variant}: {peer.url()} pids {processes.tree(peer.roots())}")
    print(f"database: {theatre.database.url}")
    for workload in chosen:
        print(f"{workload.name}: {workload.file or workload.requests()[0]}")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    return 0


def measure(theatre, chosen, options, told):
    """All of it, in order; told(text) as it comes."""
    found = []
    for connections in options.connections:
        for workload in chosen:
            found.append(closed(theatre, workload, connections, options))
            told(report.table(found[-1], options.titles))
    for workload in chosen if options.open_seconds else ():
        found.append(constant(theatre, workload, options))
        told(report.table(found[-1], options.titles))
    played = {}
    if options.day_seconds:
        variant = workloads.ALL["cached"]
        played = {name: user_day.play(theatre, theatre.peer(name, variant), options.day_seconds)
                  for name in options.peers if name in DAY_PEERS}
        told(report.days(played, options.titles))
    return found, played


def main():
    options = command_line.parse(__doc__)
    chosen = [workloads.ALL[name] for name in options.workloads]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    text = []

    def told(part):
        text.append(part)
        print(part, flush=True)

    with tempfile.TemporaryDirectory() as directory, stage.Stage(directory, options) as theatre:
        theatre.start(options.peers, chosen)
        if options.hold:
            return hold(theatre, chosen)
        told(files.heading(options))
        found, played = measure(theatre, chosen, options, told)
        judged = verdict.judge(found, workloads.ALL, options.titles)
        if judged:
            told(report.verdicts(judged))
        if options.results:
            files.write(options.results, options, found, played, judged, "\n".join(text))
    void = any(verdict.void(r) for r in found)
    return 1 if void or not all(day["good"] for day in played.values()) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except stack.Failure as failure:
        print(f"make bench: {failure}", file=sys.stderr)
        sys.exit(1)
