"""`make bench-check`: the benchmark must see 20 us of work more in every request, and no difference between twins."""
import contextlib
import pathlib
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "conf/dev"))
import options as command_line  # noqa: E402
import report  # noqa: E402
import rounds  # noqa: E402
import run  # noqa: E402
import stack  # noqa: E402
import stage  # noqa: E402
import workloads  # noqa: E402

SLOWER_US = 20
SEEN_US = (12, 35)  # it is a time, and time goes on while the worker is not on a core


def main():
    options = command_line.parse(__doc__)
    options.ceilings = False
    options.peers = ["hob", "twin", "slow"]
    options.hobs["twin"] = command_line.Hob("twin", options.binary)
    options.titles["twin"] = "hob once more"
    ping = workloads.ALL["ping"]
    with tempfile.TemporaryDirectory() as directory, stage.Stage(directory, options) as theatre:
        theatre.start(options.peers, [ping])
        samples = rounds.interleaved(theatre, ping, options.peers, 64, options)
    print(report.table(run.summed_up(ping, samples, 64), options.titles))
    cpu = {name: [s["cpu"]["side"] for s in taken] for name, taken in samples.items()}
    more = {name: rounds.spread([b - a for a, b in zip(cpu["hob"], cpu[name])])["median"] for name in ("twin", "slow")}
    for name, us in more.items():
        print(f"{options.titles[name]}: {us:+.1f} us of CPU a request")
    seen = SEEN_US[0] <= more["slow"] <= SEEN_US[1] and abs(more["twin"]) < more["slow"] / 2
    print("bench-check: " + ("seen" if seen else f"NOT SEEN: {SLOWER_US} us are to show, and between twins nothing"))
    return 0 if seen else 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        try:
            sys.exit(main())
        except stack.Failure as failure:
            sys.exit(f"make bench-check: {failure}")
