"""The handlers of users-api in-process, through libhob's recorder (support/app_test.c)."""
import subprocess

import stack
from conftest import SUPPORT


def test_users_api_in_process(settings, no_users):
    done = subprocess.run([SUPPORT / "app_test"], env=stack.base_environment() | settings | {"HOB_LOG_LEVEL": "warn"},
                          capture_output=True, text=True, timeout=120)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
