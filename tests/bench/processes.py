"""CPU time and memory of a daemon with all its descendants, from /proc."""
import contextlib
import os
import pathlib

TICK = 1 / os.sysconf("SC_CLK_TCK")
PROC = pathlib.Path("/proc")


def _stat(pid):
    """The fields of /proc/PID/stat from the state on; field n of proc(5) is at n - 3."""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()


def _children():
    """Parent -> children, of all processes."""
    found = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.setdefault(int(_stat(entry.name)[1]), []).append(int(entry.name))
    return found


def tree(roots):
    children, pids, rest = _children(), [], list(roots)
    while rest:
        pid = rest.pop()
        pids.append(pid)
        rest += children.get(pid, [])
    return pids


def cpu_seconds(pids):
    """User and system time of these processes and of the children they have waited for."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += sum(map(int, _stat(pid)[11:15]))
    return total * TICK


def memory_bytes(pids):
    """PSS: a page that several share is counted once among them."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, StopIteration):
            with open(PROC / str(pid) / "smaps_rollup") as lines:
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total


def busy_seconds():
    """Of all cores: what anybody used, or what the machine below us took away."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, (PROC / "stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) * TICK
