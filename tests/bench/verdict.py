"""Whether hob meets its targets: ratios to Go at 64 connections, medians of the rounds."""
CONNECTIONS = 64
P99_AT_MOST, P99_WITH_DATABASE = 1.0, 0.6
MEMORY_BELOW, CPU_BELOW = 0.5, 1.0
KEPT_UP = 0.98  # of a constant rate must be answered
COMPARED = ("hob", "go")


def behind(result, name):
    """Whether a peer has not kept up with the constant rate, though nothing failed."""
    return bool(result["rate"]) and result["peers"][name]["rate"]["median"] < KEPT_UP * result["rate"]


def void(result):
    return (any(peer["errors"] for peer in result["peers"].values())
            or any(behind(result, name) for name in COMPARED if name in result["peers"]))


def _verdict(what, value, bound, met):
    return {"what": what, "value": value, "bound": bound, "met": met}


def _below(what, value, bound):
    return _verdict(what, value, f"<= {bound:.1f}", value <= bound)


def _rates(result, titles):
    for name, r in result["ratios"].items():
        if r["target"]:
            what = f"{result['title']}: rate over {titles[name]}"
            yield _verdict(what, r["median"], f">= {r['target']:.1f}", r["met"])


def _against_go(result, database):
    ours, theirs = result["peers"]["hob"], result["peers"]["go"]
    how = "p99" if not result["rate"] else "p99 at a constant rate"
    yield _below(f"{result['title']}: {how} over Go's", ours["p99"]["median"] / theirs["p99"]["median"],
                 P99_WITH_DATABASE if database else P99_AT_MOST)
    if not result["rate"] and database:
        yield _below(f"{result['title']}: CPU a request over Go's",
                     ours["cpu"]["side"]["median"] / theirs["cpu"]["side"]["median"], CPU_BELOW)


def _memory(results):
    peak = {name: max(r["peers"][name]["memory"]["service"]["high"] for r in results) for name in ("hob", "go")}
    return _below("memory of all workers over Go's", peak["hob"] / peak["go"], MEMORY_BELOW)


def judge(results, workloads, titles):
    """results: those of wrk and of vegeta. Void ones are not judged."""
    judged = [r for r in results if (r["rate"] or r["connections"] == CONNECTIONS) and "hob" in r["peers"]
              and not void(r)]
    found = [v for r in judged for v in _rates(r, titles)]
    compared = [r for r in judged if "go" in r["peers"]]
    for r in compared:
        found += _against_go(r, workloads[r["workload"]].database)
    closed = [r for r in compared if not r["rate"]]
    return found + ([_memory(closed)] if closed else [])
