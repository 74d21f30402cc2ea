r"""Command lines: options with help on one screen, and errors in one line."""

import difflib
import io
import os
import re
import signal
import sys
import time
from argparse import Action
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter, get_loader, set_loader

from nnmath.runtime.distributed import by_torchrun, is_rank_zero
from nnmath.runtime.errors import RunError, UsageError
from nnmath.runtime.words import normalise_words

MAX_OPTIONS_BYTES = 1 << 16
MAX_YAML_DEPTH = 10
EXIT_DELAY_SECONDS = 5
MAX_MESSAGE_CHARACTERS = 400
load_any_yaml = get_loader("yaml")


@contextmanager
def exit_on_error() -> Iterator[None]:
    r"""Turn the exceptions that end a command into one line on stderr and an exit code.

    :class:`~nnmath.runtime.errors.UsageError` exits with 2, :class:`~nnmath.runtime.errors.RunError` and Ctrl-C with 1.
    Of the processes of a distributed run on one machine, rank 0 prints the line.
    """
    try:
        yield
    except (UsageError, RunError, KeyboardInterrupt) as error:
        code = 2 if isinstance(error, UsageError) else 1
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: None)  # the command ends now; torchrun sends Ctrl-C a second time
        if is_rank_zero():
            message = "interrupted" if isinstance(error, KeyboardInterrupt) else one_line(error)
            print(f"{Path(sys.argv[0]).name}: error: {message}", file=sys.stderr, flush=True)
        elif by_torchrun():
            time.sleep(EXIT_DELAY_SECONDS)  # torchrun ends all ranks as soon as one exits: rank 0 prints first
        sys.exit(code)


def exit_at_once(message: str) -> NoReturn:
    r"""Print one line on stderr and end the process with 1; for a signal handler, which may interrupt any code."""
    if is_rank_zero():
        below_the_bar = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # the progress bar hides the cursor
        os.write(2, f"{below_the_bar}{Path(sys.argv[0]).name}: error: {one_line(message)}\n".encode())
    elif by_torchrun():
        time.sleep(EXIT_DELAY_SECONDS)
    os._exit(1)


@contextmanager
def usage_errors(*types: type[Exception], message: str | None = None) -> Iterator[None]:
    r"""Turn exceptions of these types, ValueError by default, into a UsageError with their message, or this one."""
    caught = types or (ValueError,)
    try:
        yield
    except caught as error:
        raise UsageError(message or str(error)) from error


def one_line(text: object) -> str:
    r"""Join the lines of a text, and replace characters that a terminal would interpret by question marks.

    >>> one_line("two\n  lines \x1b[2J")
    'two lines ?[2J'
    """
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(text).split()))


def echo(*lines: str) -> None:
    r"""Print lines. A closed stdout does not end the run."""
    try:
        print(*lines, sep="\n", flush=True)
    except OSError:
        sys.stdout = io.StringIO()  # later prints succeed


def announce_loading(what: str, task: str = "") -> None:
    r"""Say on a terminal what comes, and that the next seconds go into importing these packages."""
    if is_rank_zero() and sys.stderr.isatty():
        print(f"{one_line(task)}; loading {what} ..." if task else f"loading {what} ...", file=sys.stderr, flush=True)


def load_yaml(text: str) -> Any:
    r"""Parse options as untrusted YAML: aliases are rejected (billion-laughs attack), size and depth are limited."""
    if len(text) > MAX_OPTIONS_BYTES:
        raise yaml.YAMLError(f"it has more than {MAX_OPTIONS_BYTES} characters")
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > MAX_YAML_DEPTH:
            raise yaml.YAMLError("it has an alias (*) or is nested too deeply")
    return load_any_yaml(text)


def load_value(text: str) -> Any:
    r"""The value of an option, as YAML; a line with a tab or another control character is a text."""
    return load_yaml(text) if text.rstrip("\r\n").isprintable() or len(text.splitlines()) > 1 else text


set_loader("yaml", load_value)


class BriefHelp(DefaultHelpFormatter):
    r"""Help with defaults and without types, one line per option."""

    def __init__(self, prog: str, **kwargs: Any) -> None:
        super().__init__(prog, max_help_position=26, width=100, **kwargs)

    def _get_help_string(self, action: Action) -> str:
        if action.dest == "print_config":
            return "print the options as YAML and exit"
        brief = action.help or ""
        return brief if action.default in (None, "", "==SUPPRESS==") else f"{brief} (default: %(default)s)"

    def _format_action_invocation(self, action: Action) -> str:
        if action.option_strings and action.nargs != 0 and not action.choices:
            return f"{action.option_strings[0]} ..."
        return super()._format_action_invocation(action)


class Parser(ArgumentParser):
    r"""A jsonargparse parser whose help fits a screen and whose errors are a UsageError in one line."""

    def __init__(self, description: str) -> None:
        name = Path(sys.argv[0]).name
        super().__init__(
            prog=name,
            usage=f"{name} [options]",
            description=description,
            formatter_class=BriefHelp,
            allow_abbrev=False,
        )
        self.hints: dict[str, Any] = {}

    def add_options(self, options: type[Any], skip: Iterable[str] = ()) -> None:
        r"""Add an option for each field of a dataclass."""
        self.add_class_arguments(options, nested_key=None, as_group=False, skip=set(skip))
        self.hints |= get_type_hints(options)

    def parse_args(self, args: Any = None, *others: Any, **more: Any) -> Any:
        r"""Parse the command line, see :mod:`nnmath.runtime.words`."""
        words = normalise_words(sys.argv[1:] if args is None else args, self.hints)
        not_a_list = "the config file has one value where a list is needed, as in compare: [manual, autograd]"
        with usage_errors(OSError, ValueError, yaml.YAMLError), usage_errors(AssertionError, message=not_a_list):
            return super().parse_args(words, *others, **more)  # jsonargparse asserts that a list is a list

    def parse_file(self, path: Path, exclude: Iterable[str] = ()) -> Any:
        r"""Read all options but those in ``exclude`` from a config.yaml that a script has written, as untrusted input.

        Raises:
            UsageError: the file cannot be read or has other options or values.
        """
        try:
            if path.stat().st_size > MAX_OPTIONS_BYTES:
                raise ValueError(f"it has more than {MAX_OPTIONS_BYTES} bytes")
            values = load_yaml(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise ValueError("it has no options")
            unknown = values.keys() - (self.get_defaults().as_dict().keys() - set(exclude))
            if unknown:
                raise ValueError(f"unknown option {min(map(repr, unknown)):.60}")
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise UsageError(f"{path} does not have the options of a run: {error}") from error
        message = f"{path} does not have the options of a run"
        with (
            usage_errors(AssertionError, message=f"{message}: a list is missing"),  # which jsonargparse asserts
            usage_errors(yaml.YAMLError, message=f"{message}: a text has a control character"),
        ):
            return self.parse_object(values)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        r"""Raise the message as a UsageError, in plain words, with the option or the value that may be meant."""
        union = re.fullmatch(
            r"(.*?)Does not validate.*?Errors:(.*)Given value type:.*Given value: (.*)", message, re.DOTALL
        )
        if union:  # of its errors, only that of the type that was meant is kept
            option, errors, value = union.groups()
            reasons = [reason for reason in re.findall(r"^\s*- (.*)", errors, re.MULTILINE) if "NoneType" not in reason]
            kinds = get_args(self.hints.get(next(iter(re.findall(r'"(.*?)"', option)), "")))
            if triple := next((get_args(kind) for kind in kinds if get_origin(kind) is tuple), None):
                words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
                reasons = [" or ".join([f"must be {len(triple)} positive numbers", *words])]
            message = f"{option}{reasons[-1 if value.startswith('[') else 0]}, got {value}"
        message = one_line(message.replace("Parser key ", "option "))
        message = re.sub(
            r"Not of type Positive(Int|Float): (invalid literal|could not convert).*?: ", plain_type, message
        )
        message = re.sub(r"Not of type \w+: (\S+ )?does not conform to restriction (v.*?)(, got .*|$)", limits, message)
        if choice := re.search(r"Expected a typing\.Literal\[(.*?)\](?:\. Got value:|, got) (.*)", message):
            names = re.findall(r"'(.*?)'", choice[1])
            listed = f"must be one of {', '.join(names)}, got {choice[2]}{did_you_mean(choice[2], names)}"
            message = message[: choice.start()] + listed
        if choice := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            message += did_you_mean(choice[1], re.findall(r"[\w-]+", choice[2]))
        if unknown := re.search(r"unrecognized arguments: --([\w-]+)", message):
            message += did_you_mean(unknown[1], [str(name) for name in self.get_defaults().as_dict()], "--")
        shortened = f"{message[:MAX_MESSAGE_CHARACTERS]} ..."
        raise UsageError(message if len(message) <= MAX_MESSAGE_CHARACTERS else shortened)


def plain_type(match: re.Match[str]) -> str:
    return "must be a whole number: " if match[1] == "Int" else "must be a number: "


def limits(match: re.Match[str]) -> str:
    value, restriction, got = match.groups()
    words = {"v>=": "at least ", "v>": "above ", "v<=": "at most ", "v<": "below "}
    limit = re.sub("v[<>]=?", lambda sign: words[sign[0]], restriction)
    return f"must be {limit}{got or f', got {value.strip()}'}"


def did_you_mean(word: str, names: Iterable[str], prefix: str = "") -> str:
    r"""The nearest of the names, as the end of a message; empty if none is near."""
    near = difflib.get_close_matches(word.lower(), list(names), n=1)
    return f"; did you mean {prefix}{near[0]}?" if near else ""
