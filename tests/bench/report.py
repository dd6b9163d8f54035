"""The measurements as tables for the terminal, beside the targets."""
import verdict

MARKS = {True: "met", False: "MISSED"}
HEAD = (f"  {'':18} {'requests/s':>27} {'p50 ms':>8} {'p99 ms':>8} {'CPU us':>8} {'db us':>7} {'mc us':>7}"
        f" {'load us':>7} {'MiB':>6} {'service':>7} {'others':>6}")


def ranged(s, form):
    return f"{s['median']:{form}} ({s['low']:{form}}-{s['high']:{form}})"


def _row(title, peer, behind):
    line = f"  {title:18} {ranged(peer['rate'], ',.0f'):>27}"
    if "cpu" in peer:
        cpu, memory = peer["cpu"], peer["memory"]
        line += (f" {peer['p50']['median']:8.2f} {peer['p99']['median']:8.2f} {cpu['side']['median']:8.1f}"
                 f" {cpu['database']['median']:7.1f} {cpu['cache']['median']:7.1f} {cpu['load']['median']:7.1f}"
                 f" {memory['side']['high'] / 2**20:6.1f} {memory['service']['high'] / 2**20:7.1f}"
                 f" {peer['others']['median']:6.0%}")
    if behind:
        line += "  BEHIND"
    return line + (f"  VOID: {peer['errors']}" if peer["errors"] else "")


def _ratio(name, r, titles):
    line = f"  hob / {titles[name]:18} {ranged(r, '.2f'):>20}"
    return line + (f"  target {r['target']:.1f}: {MARKS[r['met']]}" if r["target"] else "")


def table(result, titles):
    """One workload, by one generator of load."""
    at = f"{result['rate']:,} requests/s, constant" if result["rate"] else f"{result['connections']} connections"
    lines = [f"{result['title']}, {at}", HEAD]
    lines += [_row(titles[name], peer, verdict.behind(result, name)) for name, peer in result["peers"].items()]
    lines += [_ratio(name, r, titles) for name, r in result["ratios"].items()]
    return "\n".join(lines) + "\n"


def days(played, titles):
    lines = ["A user's day (k6)"]
    for name, day in played.items():
        kept = "kept" if day["good"] else "MISSED"
        lines.append(f"  {titles[name]:18} {day['rate']:9,.0f} requests/s  p50 {day['p50']:.2f}  p90 {day['p90']:.2f}"
                     f"  p99 {day['p99']:.2f}  max {day['max']:.1f} ms  thresholds {kept}")
    return "\n".join(lines) + "\n"


def verdicts(found):
    lines = ["Targets, at 64 connections"]
    lines += [f"  {v['what']:58} {v['value']:8.2f}  {v['bound']:>8}  {MARKS[v['met']]}" for v in found]
    return "\n".join(lines) + "\n"
