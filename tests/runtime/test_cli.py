import errno
import io
import sys
import threading
from pathlib import Path

import pytest
from jsonargparse.typing import PositiveInt

from nnmath.runtime.cli import Parser, echo, exit_on_error, exit_on_write_error, exit_with_error


@pytest.fixture
def parser(monkeypatch):
    monkeypatch.setattr("sys.argv", ["somewhere/script.py"])

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
        (["--count", "0"], 'option "count": Not of type PositiveInt: 0 does not conform to restriction v>0'),
        (["--count", "x"], "option \"count\": Not of type PositiveInt: invalid literal for int() with base 10: 'x'"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["--coun", "4"], "unrecognized arguments: --coun 4"),
    ],
)
def test_a_bad_option_is_one_line_and_exit_code_2(parser, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        parser.parse_args(arguments)
    assert exit_.value.code == 2
    assert capsys.readouterr().err == f"script.py: error: {message}\n"


def test_help_has_a_line_for_an_option(parser):
    lines = parser.format_help().splitlines()
    assert lines[0] == "usage: script.py [options]"
    assert any(line.split() == ["--count", "...", "how", "often", "(default:", "3)"] for line in lines)
    assert any(line.split() == ["--name", "...", "of", "whom"] for line in lines)


def test_stop_makes_one_line_of_many(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["script.py"])
    with pytest.raises(SystemExit) as exit_:
        exit_with_error("two\n  lines", code=1)
    assert exit_.value.code == 1
    assert capsys.readouterr().err == "script.py: error: two lines\n"


def test_stop_is_told_once_by_the_processes_of_a_machine(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["script.py"])
    for rank, told in (("0", "script.py: error: no\n"), ("1", ""), ("2", "")):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SystemExit) as exit_:
            exit_with_error("no", code=2)
        assert exit_.value.code == 2
        assert capsys.readouterr().err == told


def test_what_would_move_the_cursor_is_not_said(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["script.py"])
    with pytest.raises(SystemExit):
        exit_with_error("column \x1b[2J\x07 σ", code=2)
    assert capsys.readouterr().err == "script.py: error: column ?[2J? σ\n"


def test_what_nobody_reads_ends_nothing(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr("sys.stdout", Closed())
    echo("one", "two")
    echo("three")
    sys.stdout.close()


def test_usage_errors_become_a_line_and_others_stay_what_they_are(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["script.py"])
    with pytest.raises(SystemExit), exit_on_error():
        raise ValueError("no such thing")
    assert capsys.readouterr().err == "script.py: error: no such thing\n"
    with pytest.raises(KeyError), exit_on_error():
        raise KeyError
    with pytest.raises(SystemExit), exit_on_error(KeyError):
        raise KeyError


def test_a_log_that_cannot_be_written_is_one_line_also_where_a_thread_writes_it(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["script.py"])
    told = []
    monkeypatch.setattr("threading.excepthook", lambda args: told.append(args.exc_type))

    def write(error):
        raise error

    full = OSError(errno.ENOSPC, "No space left on device")

    def in_a_thread(error):
        thread = threading.Thread(target=write, args=(error,))
        thread.start()
        thread.join()

    with exit_on_write_error(Path("logs")):
        in_a_thread(full)
        in_a_thread(KeyError())
    in_a_thread(full)
    assert told == [KeyError, OSError]
    with pytest.raises(SystemExit) as exit_, exit_on_write_error(Path("logs"), "go on"):
        write(full)
    assert exit_.value.code == 1
    assert capsys.readouterr().err == (
        "script.py: error: log_dir: nothing can be written to logs: No space left on device; go on\n"
    )
