r"""What the scripts' command lines have in common: help on one screen, and errors in one line."""

from __future__ import annotations

import io
import re
import sys
import threading
from argparse import Action
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, get_loader, set_loader

from nnmath.runtime.distributed import end_together, first

MAX_CHARACTERS = 1 << 16
r"""Characters of a file of options."""
MAX_DEPTH = 10
r"""Lists in lists."""
MAX_MESSAGE_CHARACTERS = 400
any_yaml = get_loader("yaml")


def plain_yaml(text: str) -> Any:
    r"""Options as YAML, a file of them perhaps a stranger's: without aliases, by which a few lines fill any memory.

    Raises:
        yaml.YAMLError: it has some, is too long or too deep, or no YAML.
    """
    if len(text) > MAX_CHARACTERS:
        raise yaml.YAMLError(f"it has more than {MAX_CHARACTERS} characters")
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > MAX_DEPTH:
            raise yaml.YAMLError("it has an alias (*), or too many lists in lists")
    return any_yaml(text)


set_loader("yaml", plain_yaml)


class BriefHelp(DefaultHelpFormatter):
    r"""Help with the defaults and without the types, an option a line."""

    def __init__(self, prog: str, **kwargs: Any) -> None:
        super().__init__(prog, max_help_position=26, width=100, **kwargs)

    def _get_help_string(self, action: Action) -> str:
        if action.dest == "print_config":
            return "print the options as YAML and exit"
        brief = action.help or ""
        return brief if action.default in (None, "==SUPPRESS==") else f"{brief} (default: %(default)s)"

    def _format_action_invocation(self, action: Action) -> str:
        if action.option_strings and action.nargs != 0 and not action.choices:
            return f"{action.option_strings[0]} ..."
        return super()._format_action_invocation(action)


class Parser(ArgumentParser):
    r"""A parser whose help fits a screen, and that says what is wrong in one line and ends with exit code 2."""

    def __init__(self, description: str) -> None:
        name = Path(sys.argv[0]).name
        super().__init__(
            prog=name,
            usage=f"{name} [options]",
            description=description,
            formatter_class=BriefHelp,
            allow_abbrev=False,
        )

    def parse_args(self, args: Any = None, *others: Any, **more: Any) -> Any:
        r"""Takes --num-nodes for --num_nodes, and so on."""
        words = sys.argv[1:] if args is None else args
        words = [re.sub(r"^--[\w-]+", lambda name: "--" + name[0][2:].replace("-", "_"), word) for word in words]
        with exit_on_error((OSError, ValueError, yaml.YAMLError)):
            return super().parse_args(words, *others, **more)

    def parse_whole(self, path: Path, but: Iterable[str] = ()) -> Any:
        r"""All options out of a file that a script has written, ``but`` some; perhaps a stranger's, so nothing else."""
        try:
            if path.stat().st_size > MAX_CHARACTERS:
                raise ValueError(f"it has more than {MAX_CHARACTERS} bytes")
            values = plain_yaml(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ValueError("it has no options")
            strange = values.keys() - (self.get_defaults().as_dict().keys() - set(but))
            if strange:
                raise ValueError(f"it has an option {min(map(repr, strange)):.60}, which it should not have")
        except (OSError, ValueError, yaml.YAMLError) as error:
            exit_with_error(f"{path} has not the options of a run: {error}", code=2)
        with exit_on_error(
            AssertionError, f"{path} has not the options of a run: one is no list"
        ):  # jsonargparse's word for it
            return self.parse_object(values)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        r"""Says it in one line; of the types that an option may have, what is wrong with the one that was meant."""
        union = re.fullmatch(
            r"(.*?)Does not validate.*?Errors:(.*)Given value type:.*Given value: (.*)", message, re.DOTALL
        )
        if union:
            where, wrong, value = union.groups()
            reasons = [reason for reason in re.findall(r"^\s*- (.*)", wrong, re.MULTILINE) if "NoneType" not in reason]
            message = f"{where}{reasons[-1 if value.startswith('[') else 0]}, got {value}"
        message = " ".join(message.replace("Parser key ", "option ").split())
        exit_with_error(
            message if len(message) <= MAX_MESSAGE_CHARACTERS else f"{message[:MAX_MESSAGE_CHARACTERS]} ...", code=2
        )


def exit_with_error(message: object, code: int) -> NoReturn:
    r"""End the script with one line on stderr; of the processes that work together on a machine the first one says it.

    Args:
        message: what is wrong, where, and what to do.
        code: the exit code: 2 for what the user asked, 1 for what then failed.
    """
    if first():
        print(f"{Path(sys.argv[0]).name}: error: {one_line(message)}", file=sys.stderr)
    end_together(code)
    sys.exit(code)


def one_line(text: object) -> str:
    r"""Without line breaks, and without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(text).split()))


def echo(*lines: str) -> None:
    r"""Prints lines, if anybody is there to read them: if not, the work is worth more."""
    try:
        print(*lines, sep="\n", flush=True)
    except OSError:
        sys.stdout = io.StringIO()  # for what is still to come, so that it raises nothing


@contextmanager
def exit_on_write_error(folder: Path, then: str = "") -> Iterator[None]:
    r"""What is within writes into the log: if it cannot, that is one line with what to do ``then``, and exit code 1.

    TensorBoard writes in a thread; if that cannot, this thread is told, and the other's traceback is one too many.
    """

    def other(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, OSError):
            before(args)

    before, threading.excepthook = threading.excepthook, other
    try:
        yield
    except OSError as error:
        what_to_do = f"; {then}" if then else ""
        exit_with_error(f"log_dir: nothing can be written to {folder}: {error.strerror or error}{what_to_do}", code=1)
    finally:
        threading.excepthook = before


@contextmanager
def exit_on_error(
    errors: type[Exception] | tuple[type[Exception], ...] = ValueError, instead: str | None = None
) -> Iterator[None]:
    r"""An error of this kind within is about what the user asked for: it becomes one line, and exit code 2.

    The line is the error's own, unless there is one ``instead``.
    """
    try:
        yield
    except errors as error:
        exit_with_error(instead or error, code=2)
