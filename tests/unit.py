"""Runs cmocka programs side by side, shows what fails, and ends with "N passed, N failed"."""
import concurrent.futures
import os
import re
import subprocess
import sys

TIMEOUT_S = 120


def run(program):
    """(passed, failed, output). A program that dies or hangs is one more failure."""
    try:
        done = subprocess.run([program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                              timeout=TIMEOUT_S, env=os.environ | {"UBSAN_OPTIONS": "print_stacktrace=1"})
        output, status = done.stdout.decode(errors="replace"), done.returncode
    except subprocess.TimeoutExpired as stuck:
        output, status = (stuck.stdout or b"").decode(errors="replace"), f"none after {TIMEOUT_S} s"
    passed = sum(map(int, re.findall(r"\[  PASSED  \] (\d+) test", output)))
    failed = sum(map(int, re.findall(r"\[  FAILED  \] [^:]*?(\d+) test\(s\), listed", output)))
    if (status and not failed) or passed + failed == 0:
        failed += 1
        output += f"\n{program}: exit status {status}, {passed} passed\n"
    return passed, failed, output


def main(programs):
    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for program, (good, bad, output) in zip(programs, pool.map(run, programs)):
            passed, failed = passed + good, failed + bad
            if bad:
                print(f"==== {program}\n{output}")
    print(f"unit tests: {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main(sys.argv[1:]))
