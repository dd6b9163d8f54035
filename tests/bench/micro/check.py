"""`make bench-micro`: time, allocations and instructions of small operations, beside the limits and baseline.json.

Time is compared as a ratio to the calibration loop of the same run, so another machine's baseline will do, with a slack
for what the ratio does not cover. Instructions and allocations do not depend on the machine or its load but on compiler
and libraries, so they are kept per toolchain; --counts looks at them alone. --update writes what was measured into the
baseline. --drill NAME makes that operation 20 us slower, which must be seen. Ends with status 1 when anything was.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROGRAM = HERE.parents[2] / os.environ.get("HOB_BUILD", "build") / "tests/bench/micro/micro"
BASELINE = HERE / "baseline.json"
LIMITS_NS = {"router": 100, "fiber_switch": 20, "rows_100": 6000, "bind_user": 1500}
NO_ALLOCATION = ("router",)
TIME_SLACK = 1.5
RUNS = 3  # of which the best counts: a bad moment of the machine is no regression
COUNT_SLACK = 0.03
# valgrind shows the C library the same processor on all that have AVX2, so it takes the same memcpy there. But of a
# "rep movsb" valgrind counts each byte.
TUNABLES = "glibc.cpu.hwcaps=-ERMS,-FSRM"


def output(*command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120, **options).stdout


def drilled(drill):
    return ["--drill", drill] if drill else []


def toolchain():
    return output(PROGRAM, "--toolchain").strip()


def measure_times(drill=None):
    """{name: ns}"""
    runs = [[line.split() for line in output(PROGRAM, *drilled(drill)).splitlines()] for _ in range(RUNS)]
    return {lines[0][0]: min(float(ns) for _, ns in lines) for lines in zip(*runs)}


def measure_counts(drill=None):
    """{name: {"instructions": n, "allocations": n}} of one operation."""
    with tempfile.TemporaryDirectory() as directory:
        valgrind = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no",
                    f"--callgrind-out-file={directory}/profile"]
        lines = output(*valgrind, PROGRAM, "--count", *drilled(drill),
                       env={"PATH": os.environ["PATH"], "LD_BIND_NOW": "1", "GLIBC_TUNABLES": TUNABLES})
        totals = {}
        for profile in pathlib.Path(directory).glob("profile.*"):
            text = profile.read_text()
            name = re.search(r"^desc: Trigger: Client Request: (\S+)", text, re.MULTILINE)[1]
            totals[name] = int(re.search(r"^totals: (\d+)", text, re.MULTILINE)[1])
    return {name: {"instructions": round(totals[name] / int(times), 1), "allocations": int(allocated) / int(times)}
            for name, times, allocated in (line.split() for line in lines.splitlines())}


def ratios(times):
    return {name: ns / times["calibration"] for name, ns in times.items()}


def unknown(measured, baseline):
    return [f"{name}: only in the {'baseline' if name in baseline else 'program'}; --update"
            for name in sorted(measured.keys() ^ baseline.keys())]


def time_faults(times, baseline):
    """baseline: {name: ratio to the calibration loop}"""
    now = ratios(times)
    faults = unknown(now, baseline)
    for name in now.keys() & baseline.keys():
        if now[name] > baseline[name] * TIME_SLACK:
            faults.append(f"{name}: {times[name]:.1f} ns, {now[name] / baseline[name]:.2f} times what it took")
    return faults + [f"{name}: {times[name]:.1f} ns, more than {limit}"
                     for name, limit in LIMITS_NS.items() if times[name] > limit]


def count_faults(counts, baseline):
    """baseline: counts of the same toolchain. Fewer instructions are a fault too: the next regression would hide."""
    faults = unknown(counts, baseline)
    for name in counts.keys() & baseline.keys():
        now, then = (side[name]["instructions"] for side in (counts, baseline))
        if abs(now - then) > then * COUNT_SLACK:
            faults.append(f"{name}: {now:,.0f} instructions, {then:,.0f} before ({now / then - 1:+.1%});"
                          " --update if that is meant")
        now, then = (side[name]["allocations"] for side in (counts, baseline))
        if now != then:
            faults.append(f"{name}: {now:g} allocations, {then:g} before")
    return faults


def allocation_faults(counts):
    return [f"{name}: {counts[name]['allocations']:g} allocations, none allowed"
            for name in NO_ALLOCATION if counts[name]["allocations"]]


def not_compared(chain, baseline):
    """None when there are counts of this toolchain."""
    if chain in baseline["counts"]:
        return None
    return f"instructions not compared: there are none of {chain}, only of " + "; ".join(baseline["counts"])


def print_table(times, counts):
    print(f"{'':14}{'ns':>10}{'limit':>7}{'calibrated':>12}{'allocations':>13}{'instructions':>14}")
    for name, count in counts.items():
        time = f"{times[name]:10,.1f}{LIMITS_NS.get(name, ''):>7}{ratios(times)[name]:12.4f}" if times else " " * 29
        print(f"{name:14}{time}{count['allocations']:13g}{count['instructions']:14,.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", action="store_true", help="instructions and allocations alone")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--drill", metavar="NAME")
    options = parser.parse_args()
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {"time": {}, "counts": {}}
    chain, counts = toolchain(), measure_counts(options.drill)
    if options.drill and options.drill not in counts:
        parser.error(f"there is no operation {options.drill}")
    times = None if options.counts else measure_times(options.drill)
    print(chain)
    print_table(times, counts)
    if options.update:
        baseline["counts"][chain] = counts
        if times:
            baseline["time"] = {name: round(ratio, 5) for name, ratio in ratios(times).items()}
        BASELINE.write_text(json.dumps(baseline, indent=1) + "\n")
    faults = allocation_faults(counts) + (time_faults(times, baseline["time"]) if times else [])
    if not_compared(chain, baseline):
        print(not_compared(chain, baseline))
    else:
        faults += count_faults(counts, baseline["counts"][chain])
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
