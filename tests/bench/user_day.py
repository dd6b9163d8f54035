"""k6 plays user_day.js; its thresholds are k6's own to judge."""
import json
import os
import pathlib
import subprocess

import stack

SCRIPT = pathlib.Path(__file__).with_name("user_day.js")
THRESHOLDS_FAILED = 99  # k6's exit status


def play(stage, peer, seconds):
    summary = stage.place.path / "k6.json"
    environment = os.environ | {"BASE": peer.url(), "SECONDS": str(seconds), "K6_NO_USAGE_REPORT": "true"}
    argv = [stage.options.tools / "k6", "run", "--quiet", "--no-color", "--address", "",
            "--summary-export", summary, SCRIPT]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=seconds + 120)
    stage.forget_new_orders()
    if done.returncode not in (0, THRESHOLDS_FAILED):
        raise stack.Failure(f"k6: {done.stderr.strip()}")
    metrics = json.loads(summary.read_text())["metrics"]
    duration = metrics["http_req_duration"]
    return {"good": done.returncode == 0, "rate": metrics["http_reqs"]["rate"], "p50": duration["med"],
            "p90": duration["p(90)"], "p99": duration["p(99)"], "max": duration["max"],
            "failed": metrics["http_req_failed"].get("passes", 0), "complaints": done.stderr.strip()}
