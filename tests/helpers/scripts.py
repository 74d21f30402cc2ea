"""A script in the test's own process, which saves the seconds that its imports take."""

import contextlib
import io
import os
import runpy
import signal
import subprocess
import sys
import urllib.request
import warnings
from unittest import mock

import torch


def run_here(script, folder, *options, **environment):
    """What ``subprocess.run`` of the script in this folder would give; for what no other process is needed.

    A test of each script runs it in a process of its own all the same.
    """
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threads, argv = torch.get_num_threads(), [str(script), *map(str, options)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(mock.patch.object(sys, "argv", argv))
        stack.enter_context(mock.patch.object(sys, "path", list(sys.path)))
        stack.enter_context(mock.patch.dict(os.environ, environment))
        stack.enter_context(mock.patch.object(urllib.request, "_opener", None))  # it keeps the first proxy that it sees
        stack.enter_context(warnings.catch_warnings())
        try:
            runpy.run_path(str(script), run_name="__main__")
            code = 0
        except SystemExit as exit_:
            code = exit_.code
        finally:
            torch.set_num_threads(threads)
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())
