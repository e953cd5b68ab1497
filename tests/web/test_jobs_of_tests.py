"""A test run that is killed leaves no job behind."""

import subprocess
import sys
from pathlib import Path

from process_group import wait_for_end

# Starts a job as tests do, in a session of its own as the page does, and waits to be killed.
STARTER = """
import subprocess, sys, time
import tethered
program = tethered.words(sys.executable, "-c", "import time; print('on', flush=True); time.sleep(60)")
child = subprocess.Popen(program, start_new_session=True, stdout=subprocess.PIPE, text=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def test_a_job_ends_with_the_test_run_that_was_killed():
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert starter.stdout is not None
    group = int(starter.stdout.readline())
    starter.kill()
    starter.communicate()
    wait_for_end(group)
