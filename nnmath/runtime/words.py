r"""The words of a command line, before jsonargparse reads their values as YAML.

Lists may be written ``a,b``, ``a b`` or ``[a, b]``; names are text whatever they look like; ``1e3`` is a whole number.
"""

import json
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

ITEM = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^,]*?))\s*(?:,|$)""")


def kind_of(hint: Any) -> str:
    r"""What the values of an option are: "texts" or "numbers" for a list, "whole" for a whole number, else "other"."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for part in parts:
        if typing.get_origin(part) in (list, tuple, Sequence):
            of = typing.get_args(part)[0]
            return "other" if typing.get_origin(of) is Literal else "texts" if of is str else "numbers"
    return "whole" if any(isinstance(part, type) and issubclass(part, int) for part in parts) else "other"


def normalise_words(words: Sequence[str], hints: Mapping[str, Any]) -> list[str]:
    r"""The words with one value for each option, in the form that jsonargparse reads.

    Args:
        words: the command line. Dashes and underscores in the names of options are equivalent.
        hints: the type of each option, by its name.

    >>> normalise_words(["--features", "temp", "ph: raw", "--epochs", "1e3"], {"features": list[str], "epochs": int})
    ['--features=["temp", "ph: raw"]', '--epochs', '1000']
    """
    result: list[str] = []
    position = 0
    while position < len(words):
        word = re.sub(r"^--[\w-]+", lambda name: "--" + name[0][2:].replace("-", "_"), words[position])
        position += 1
        name, _, value = word.removeprefix("--").partition("=")
        kind = kind_of(hints[name]) if word.startswith("--") and name in hints else "other"
        if kind in ("texts", "numbers"):
            values = [value] if "=" in word else []
            while position < len(words) and not words[position].startswith("--"):
                values.append(words[position])
                position += 1
            if values:
                word = f"--{name}={as_list(values, kind)}"
        elif kind == "whole" and "=" in word:
            word = f"--{name}={as_whole(value)}"
        elif kind == "whole" and position < len(words):
            result.append(word)
            word = as_whole(words[position])
            position += 1
        result.append(word)
    return result


def as_list(values: Iterable[str], kind: str) -> str:
    r"""Values as a list in JSON; a single number without brackets stays one."""
    values = list(values)
    text = " ".join(values).strip()
    bracketed = text.startswith("[") and text.endswith("]")
    text = text[1:-1] if bracketed else text
    if bracketed or "," in text or (kind == "texts" and len(values) == 1):
        items = [next((part for part in match.groups() if part is not None), "") for match in ITEM.finditer(text)]
        items = items[:-1] if items and not items[-1] else items
    else:
        items = values if kind == "texts" else text.split()
    if kind == "texts":
        return json.dumps(items, ensure_ascii=False)
    numbers = [as_whole(item) for item in items]
    return numbers[0] if len(numbers) == 1 and not bracketed else f"[{', '.join(numbers)}]"


def as_whole(text: str) -> str:
    r"""A whole number such as 1e3 in digits; any other text as it is."""
    if re.fullmatch(r"\+?\d+(\.\d*)?[eE]\+?\d{1,2}", text) and float(text).is_integer():
        return str(int(float(text)))
    return text
