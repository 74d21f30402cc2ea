import errno
import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from jsonargparse.typing import PositiveInt

from nnmath.runtime.cli import Parser, announce_loading, echo, exit_on_error, usage_errors
from nnmath.runtime.errors import RunError, UsageError
from nnmath.runtime.files import log_errors


@pytest.fixture(autouse=True)
def script_name(monkeypatch):
    monkeypatch.setattr("sys.argv", ["somewhere/script.py"])


@pytest.fixture(autouse=True)
def restored_signals():
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def parser():
    def run(count: PositiveInt = 3, name: str | None = None):
        """Runs.

        Args:
            count: how often
            name: of whom
        """

    parser = Parser("A script.")
    parser.add_function_arguments(run, as_group=False)
    return parser


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], 'option "count": must be above 0, got 0'),
        (["--count", "x"], "option \"count\": must be a whole number: 'x'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--coun", "4"], "unrecognized arguments: --coun 4; did you mean --count?"),
    ],
)
def test_bad_option_is_a_usage_error_in_one_line(parser, arguments, message):
    with pytest.raises(UsageError) as error:
        parser.parse_args(arguments)
    assert str(error.value) == message


def test_help_has_one_line_per_option(parser):
    lines = parser.format_help().splitlines()
    assert lines[0] == "usage: script.py [options]"
    assert any(line.split() == ["--count", "...", "how", "often", "(default:", "3)"] for line in lines)
    assert any(line.split() == ["--name", "...", "of", "whom"] for line in lines)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("two\n  lines"), 2, "two lines"),
        (RunError("column \x1b[2J\x07 σ"), 1, "column ?[2J? σ"),
        (KeyboardInterrupt(), 1, "interrupted"),
    ],
)
def test_errors_end_a_script_with_one_line_and_an_exit_code(capsys, error, code, line):
    with pytest.raises(SystemExit) as exit_, exit_on_error():
        raise error
    assert exit_.value.code == code
    for number in (signal.SIGINT, signal.SIGTERM):  # a signal after the line does not print another
        os.kill(os.getpid(), number)
    assert capsys.readouterr().err == f"script.py: error: {line}\n"
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN  # which child processes would inherit


def test_other_exceptions_are_not_hidden():
    with pytest.raises(KeyError), exit_on_error():
        raise KeyError


def test_rank_zero_alone_prints_the_error(monkeypatch, capsys):
    for rank, printed in (("0", "script.py: error: no\n"), ("1", ""), ("2", "")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SystemExit) as exit_, exit_on_error():
            raise UsageError("no")
        assert exit_.value.code == 2
        assert capsys.readouterr().err == printed


def test_what_comes_is_announced_on_a_terminal(monkeypatch, capsys):
    announce_loading("PyTorch", "checking a")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    announce_loading("PyTorch", "checking a\nb")
    announce_loading("PyTorch and Lightning")
    assert capsys.readouterr().err == "checking a b; loading PyTorch ...\nloading PyTorch and Lightning ...\n"
    monkeypatch.setenv("LOCAL_RANK", "1")
    announce_loading("PyTorch")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("experiments.py --only perceptron --csv {csv}", "experiments: perceptron; loading PyTorch ..."),
        ("check_gradients.py", "checking each equation of the article; loading PyTorch ..."),
        ("check_gradients.py --file mine.py", "checking mine.py; loading PyTorch ..."),
        ("reproduce_notebook.py --epochs 5", "training at 90 learning rates for 5 epochs, then "),
        ("benchmark.py --tables network stack", "measuring: network, stack; loading PyTorch ..."),
    ],
)
def test_scripts_say_what_they_do_before_they_import_torch(tmp_path, command, line):
    """A torch in the way ends the process when it is imported."""
    (tmp_path / "torch.py").write_text("raise SystemExit(3)")
    (tmp_path / "mine.py").write_text("import torch")
    (tmp_path / "a.csv").write_text("30,64,1,1\n" * 306)
    script, *options = command.format(csv="a.csv").split()
    program = (
        "import runpy, sys; sys.argv = sys.argv[1:]; sys.stderr.isatty = lambda: True;"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    path = Path(__file__).parents[2] / "scripts" / script
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    process = subprocess.run(
        [sys.executable, "-c", program, path, *options],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.stderr.startswith(line), process.stderr


def test_closed_stdout_does_not_end_the_run(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("sys.stdout", Closed())
    echo("one", "two")
    echo("three")
    sys.stdout.close()


def test_usage_errors_converts_the_named_types_only():
    with pytest.raises(UsageError, match="no such thing"), usage_errors():
        raise ValueError("no such thing")
    with pytest.raises(KeyError), usage_errors():
        raise KeyError
    with pytest.raises(UsageError, match="another message"), usage_errors(KeyError, message="another message"):
        raise KeyError
    with pytest.raises(RunError), usage_errors(RuntimeError):
        raise RunError


def test_log_that_cannot_be_written_is_one_line_without_the_threads_traceback(monkeypatch):
    reported = []
    monkeypatch.setattr("threading.excepthook", lambda args: reported.append(args.exc_type))

    def write(error):
        raise error

    full = OSError(errno.ENOSPC, "No space left on device")

    def write_in_thread(error):
        thread = threading.Thread(target=write, args=(error,))
        thread.start()
        thread.join()

    with log_errors(Path("logs")):
        write_in_thread(full)
        write_in_thread(KeyError())
    write_in_thread(full)
    assert reported == [KeyError, OSError]
    with pytest.raises(RunError) as error, log_errors(Path("logs"), "free some space"):
        write(full)
    assert str(error.value) == "log_dir: cannot write to logs: No space left on device; free some space"
    log_dir = "log_dir: cannot write to logs: "
    for path, message in (("logs/a", log_dir), (Path.cwd(), log_dir), ("out.gif", "cannot write to out.gif: ")):
        with pytest.raises(RunError) as error, log_errors(Path("logs")):
            write(OSError(errno.ENOSPC, "No space left on device", path))
        assert str(error.value) == f"{message}No space left on device"
