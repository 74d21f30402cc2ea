"""The suite itself: a test that fails leaves no process behind, and Ctrl-C reaches the processes that it starts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

TESTS = """
import subprocess, sys

def test_fails():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print("child", process.pid)
    assert False

def test_ctrl_c():
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\\n"
"""


def test_processes_of_a_failed_test_end_with_it(tmp_path):
    file = tmp_path / "test_processes.py"
    file.write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-p", "conftest", "-p", "no:cacheprovider", file]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parent)])}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "1 failed, 1 passed" in process.stdout, process.stdout
    (child,) = (int(line.split()[1]) for line in process.stdout.splitlines() if line.startswith("child"))
    assert not Path(f"/proc/{child}").exists()
