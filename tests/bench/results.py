"""The latest results as files: JSON, the tables, and plots."""
import datetime
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess

import plots


def _first_line(*argv):
    if not shutil.which(argv[0]):
        return ""
    done = subprocess.run(argv, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().partition("\n")[0]


def _version(*argv):
    found = re.search(r"\d+\.\d+(\.\d+)?", _first_line(*argv))
    return found[0] if found else "?"


def _cpu():
    found = re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def machine(options):
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    go = _first_line("go", "version", str(options.tools / "users-api-go")).rpartition("go")[2]
    return {"date": datetime.date.today().isoformat(), "cpu": _cpu(), "cores": os.cpu_count(),
            "memory_gib": round(memory), "kernel": platform.release(), "nginx": _version("nginx", "-v"),
            "postgresql": _version("psql", "--version"), "memcached": _version("memcached", "-V"), "go": go}


def heading(options):
    m = machine(options)
    return (f"{m['date']}: {m['cores']} cores of {m['cpu']}, {m['memory_gib']} GiB, Linux {m['kernel']};"
            f" nginx {m['nginx']}, PostgreSQL {m['postgresql']}, memcached {m['memcached']}, Go {m['go']}\n"
            f"{options.rounds} rounds of {options.seconds} s, interleaved; workers: hob {options.workers}, nginx"
            f" {options.nginx_workers}; {options.pool} database connections each, Go's GOGC"
            f" {options.gogc}, php-fpm {options.children} children."
            " Medians, with the least and the greatest.\n")


def _rounded(value):
    """Four figures are more than a measurement has."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return [_rounded(v) for v in value] if isinstance(value, list) else value


def _lines(name, values):
    body = ",\n".join("  " + json.dumps(_rounded(v)) for v in values)
    return f'"{name}": [\n{body}\n]'


def write(directory, options, found, played, judged, text):
    directory.mkdir(parents=True, exist_ok=True)
    parts = [f'"machine": {json.dumps(machine(options))}', _lines("results", found), _lines("targets", judged),
             f'"days": {json.dumps(_rounded(played))}']
    (directory / "latest.json").write_text("{" + ",\n".join(parts) + "}\n")
    (directory / "latest.txt").write_text(text)
    plots.draw(directory, found, options.titles)
