"""Plots by gnuplot: clusters of bars, a cluster a workload, a bar a peer."""
import subprocess

import verdict

PEERS = ("hob", "go", "go-nginx", "php")
COLOURS = ("#b5432a", "#5b8fb9", "#a9c6dd", "#c9b458")
STYLE = """set terminal svg size 900,420 dynamic font "sans-serif,12" background "white"
set style data histogram
set style histogram errorbars gap 1 lw 1
set style fill solid 0.9 noborder
set boxwidth 0.9
set grid ytics lc rgb "#dddddd"
set border 3
set bmargin 4
set errorbars linecolor rgb "#444444"
set tics nomirror
set key top right
set xtics scale 0
set yrange [0:*]
"""


def _cell(peer, figure):
    if peer is None:
        return "? ? ?"
    s = peer[figure]
    return f"{s['median']:.6g} {s['low']:.6g} {s['high']:.6g}"


def _clusters(path, title, unit, found, figure, titles, more=""):
    names = [name for name in PEERS if any(name in r["peers"] for r in found)]
    if not found or not names:
        return
    rows = [f'"{r["title"].replace(", ", chr(92) + "n")}" ' + " ".join(_cell(r["peers"].get(n), figure) for n in names)
            for r in found]
    series = ", ".join(f'$data using {n}:{n + 1}:{n + 2}:xtic(1) title "{titles[name]}" lc rgb "{colour}"'
                       for n, name, colour in zip(range(2, 100, 3), names, COLOURS))
    script = (f"{STYLE}{more}set output \"{path}\"\nset title \"{title}\"\nset ylabel \"{unit}\"\n"
              "$data << END\n" + "\n".join(rows) + f"\nEND\nplot {series}\n")
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def draw(directory, found, titles):
    closed = [r for r in found if r["connections"] == verdict.CONNECTIONS]
    _clusters(directory / "rate.svg", "Requests a second, 64 connections (median; least to greatest)", "requests/s",
              closed, "rate", titles)
    _clusters(directory / "latency.svg", "p99 at a constant rate, 70 % of what the slowest can do", "ms",
              [r for r in found if r["rate"]], "p99", titles, "set logscale y\nset yrange [0.1:*]\n")
