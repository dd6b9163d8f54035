"""What `make bench-growth` found: lines for the terminal, JSON, and a plot of each curve by gnuplot."""
import json
import subprocess

import results

HEAD = (f"  {'':>9} {'requests/s':>26} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>7} {'MiB':>6}   cores busy:"
        f" {'workers':>7} {'nginx':>5} {'db':>5} {'cache':>5} {'wrk':>5} {'others':>6}")
# Above the rate, below it the latency; void points are missing.
PLOT = """set terminal svg size 720,640 dynamic font "sans-serif,12" background "white"
set output "{path}"
set grid lc rgb "#dddddd"
set border 3
set tics nomirror
set logscale x {base}
set xrange [{least}:{most}]
set xtics ({xtics})
set pointsize 0.6
set lmargin 11
set rmargin 4
$data << END
{rows}
END
set multiplot layout 2,1 title "{title}"
set yrange [0:*]
set ylabel "requests/s"
plot $data using 1:2:3:4 with yerrorlines title "median; least to greatest" lc rgb "#b5432a" lw 2 pt 7
set logscale y
set yrange [*:*]
set ylabel "{latency}"
set xlabel "{axis}"
set key top left
plot $data using 1:5 with linespoints title "p50" lc rgb "#5b8fb9" lw 2 pt 7, \\
     $data using 1:6 with linespoints title "p99" lc rgb "#b5432a" lw 2 pt 7
unset multiplot
"""
SUFFIXES = {10**6: "M", 10**3: "k"}


def cores_busy(point):
    """Of each part, on the average."""
    cpu = {part: spread["median"] * point["rate"]["median"] / 1e6 for part, spread in point["cpu"].items()}
    return {"workers": cpu["service"], "nginx": cpu["side"] - cpu["service"], "database": cpu["database"],
            "cache": cpu["cache"], "wrk": cpu["load"]}


def heading(curve):
    return f"\n{curve.axis} ({curve.title})\n{HEAD}"


def row(value, point):
    rate = point["rate"]
    ranged = f"{rate['median']:,.0f} ({rate['low']:,.0f}-{rate['high']:,.0f})"
    workers, *rest = cores_busy(point).values()
    return (f"  {value:9,} {ranged:>26} {point['p50']['median']:8.2f} {point['p99']['median']:8.2f}"
            f" {point['cpu']['side']['median']:7.1f} {point['memory']['service']['high'] / 2**20:6.1f}"
            f"               {workers:7.2f} " + " ".join(f"{part:5.2f}" for part in rest)
            + f" {point['others']['median']:6.0%}" + (f"  VOID: {point['errors']}" if point["errors"] else ""))


def _tic(value):
    for unit, suffix in SUFFIXES.items():
        if value >= unit:
            return f'"{value / unit:.3g}{suffix}" {value}'
    return f'"{value}" {value}'


def _plot_row(curve, value, point):
    rate = point["rate"]
    latencies = (point[p]["median"] - curve.asleep_ms for p in ("p50", "p99"))
    return " ".join(f"{figure:.6g}" for figure in (value, rate["median"], rate["low"], rate["high"], *latencies))


def draw(path, curve, points):
    good = {value: point for value, point in points.items() if not point["errors"]}
    if not good:
        return
    latency = f"ms beyond the {curve.asleep_ms} asleep" if curve.asleep_ms else "ms"
    script = PLOT.format(path=path, base=2 if max(points) < 10 else 10, least=min(points) / 1.1, most=max(points) * 1.1,
                         xtics=", ".join(map(_tic, points)), title=curve.title, axis=curve.axis, latency=latency,
                         rows="\n".join(_plot_row(curve, *item) for item in good.items()))
    subprocess.run(["gnuplot"], input=script, text=True, check=True)


def _rounded(value):
    """Four figures are more than a measurement has."""
    return json.loads(json.dumps(value), parse_float=lambda figure: float(f"{float(figure):.4g}"))


def _json(machine, options, curve, points):
    method = {name: getattr(options, name) for name in ("rounds", "nginx_workers", "pool")}
    method["seconds"] = options.seconds * curve.longer
    lines = ",\n".join("  " + json.dumps(_rounded({"at": value, "cores_busy": cores_busy(point)} | point))
                       for value, point in points.items())
    return f'{{"machine": {json.dumps(machine)},\n"method": {json.dumps(method)},\n"points": [\n{lines}\n]}}\n'


def write(directory, options, found):
    """A curve that was not measured keeps its files."""
    directory.mkdir(parents=True, exist_ok=True)
    machine = {name: value for name, value in results.machine(options).items() if name != "go"}
    for curve, points in found.items():
        (directory / f"growth-{curve.name}.json").write_text(_json(machine, options, curve, points))
        draw(directory / f"growth-{curve.name}.svg", curve, points)
