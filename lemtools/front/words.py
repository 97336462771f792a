"""The words of Python for what the rooms say in those of the commands: keywords, their values, notes and errors."""

from __future__ import annotations

import functools
import inspect
import numbers
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import click

from ..catalogue import LemError, Option, Table, near
from ..catalogue.encoders import ENCODERS
from ..catalogue.shared import DEVICE
from ..cli.options import converted

F = TypeVar("F", bound=Callable[..., Any])
SEED = Option("--seed", "Seed of all random draws.", "whole", low=0, default=0)
_CALLED = {"pair": "by", "metric": "metrics"}  # keywords that are not their option's own word
_CHOSEN = re.compile(r"(?<![\w-])--(pair|where) (order|name|missing|all)\b")
_OPTION = re.compile(r"(?<![\w'-])--([a-z]+(?:-[a-z]+)*)(?: ([A-Z]+(?![a-z])[\w.]*))?")


def spoken(text: str) -> str:
    """A message of the commands with keywords: 'raise --max-bytes' as 'raise max_bytes', '--key NAME' as 'key=NAME'."""

    def keyword(match: re.Match[str]) -> str:
        word = _CALLED.get(match[1], match[1].replace("-", "_"))
        return f"{word}={match[2]}" if match[2] else word

    text = text.replace("--model FILE", "encoder=..., its path or what fit returned")
    text = _CHOSEN.sub(lambda match: f"{_CALLED.get(match[1], match[1])}={match[2]!r}", text)
    return re.sub(r"(?<![\w-])-o (?=\S)", "", _OPTION.sub(keyword, text))


@contextmanager
def plain() -> Iterator[None]:
    """What a user can mend is a LemError of one line that speaks of keywords."""
    try:
        yield
    except LemError as error:
        if (said := spoken(str(error))) == str(error):
            raise
        raise LemError(said).with_traceback(error.__traceback__) from None
    except click.UsageError as error:
        raise LemError(spoken(error.format_message())) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.strerror is None:
            raise LemError(spoken(str(error))) from error
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        raise LemError(f"{where}{error.strerror}") from error


def note(text: str) -> None:
    """A warning that points to the line of whoever called the library."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("lemtools."):
        level, frame = level + 1, frame.f_back
    warnings.warn(spoken(text), stacklevel=level)


def unknown(what: str, word: str, known: Iterable[str]) -> LemError:
    """The error for a word that there is not, with those that there are, and what is near it."""
    words = list(known)
    like = near(str(word), words)
    hint = f" (did you mean {' or '.join(like)}?)" if like else ""
    return LemError(f"no {what} {word!r}; there are {', '.join(words)}{hint}")


def public(function: F) -> F:
    """A function of the library whose every mistake of its user is a LemError, its arguments among them."""
    signature, name = inspect.signature(function), function.__name__
    words = [p.name for p in signature.parameters.values() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    open_ended = any(p.kind == p.VAR_KEYWORD for p in signature.parameters.values())

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        with plain():
            for word in () if open_ended else kwargs:
                if word not in words:
                    raise unknown(f"keyword of {name}", word, words)
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise LemError(f"{name}: {error}") from None
            return function(*args, **kwargs)

    return cast(F, checked)


def value(option: Option, given: Any, called: str) -> Any:
    """A keyword's value as its option takes it; text is read as on the command line. LemError for any other."""
    if option.type == "flag":
        if given in (True, False):
            return bool(given)
        raise LemError(f"{called}={given!r}: it takes True or False")
    try:
        return converted(option).type.convert(_text(option, given), None, None)
    except click.UsageError as error:
        why = f"it takes {_taken(option)}" if option.type in _NUMBERS else error.message
        raise LemError(f"{called}={given!r}: {why}") from None
    except TypeError:
        raise LemError(f"{called}={given!r}: it takes {_taken(option)}") from None


def _taken(option: Option) -> str:
    """What an option takes, in words."""
    if option.type in ("whole", "number"):
        return option.wanted().replace("from", "above") if "low" in option.open else option.wanted()
    if option.type in _NUMBERS:
        return f"a{' whole' * (option.type == 'whole-amount')} number, or a pair (low, high) to draw from"
    if option.type == "size":
        return "PX, or (width, height)"
    return f"text, as {option.metavar}" if option.metavar else "text"


def chosen(
    table: Table, name: str, thing: str, given: dict[str, Any], own: Iterable[str] | None = None
) -> dict[str, Any]:
    """Options of the thing of this name in a table, checked. own: those that it takes here; None: all of its row."""
    row, options = table[name], {word: option for word, (option, _) in table.options().items()}
    needs = {"device": DEVICE, "seed": SEED}
    taken = [*([o.name for o in row.options] if own is None else own), *(need for need in row.needs if need in needs)]
    found: dict[str, Any] = {}
    for word, each in given.items():
        if each is None:
            continue
        if word not in taken:
            if problem := table.refused(word, name, f"--{thing}") or (
                word in options and f"{word} is not for {name} here"
            ):
                raise LemError(problem)
            raise unknown(f"keyword of {thing} {name}", word, taken)
        option = options.get(word) or needs[word]
        several = isinstance(each, list | tuple) and option.multiple
        found[word] = [value(option, one, word) for one in each] if several else value(option, each, word)
        if option.multiple and not several:
            found[word] = [found[word]]
    if "shrink" in found:
        from ..cli.reconstruct import ridge

        found["shrink"] = ridge(found["shrink"])
    if "device" in found and table is ENCODERS:
        from ..device import pick

        try:
            found["device"] = pick(found["device"])
        except ValueError as error:
            raise LemError(f"device: {error}") from None
    return found


def _text(option: Option, given: Any) -> str:
    """A value as it is written on the command line. TypeError for one that cannot be."""
    if isinstance(given, str | os.PathLike):
        return os.fspath(given)
    if isinstance(given, tuple | list) and len(given) == 2 and str(option.type) in _PAIRS:
        return _PAIRS[str(option.type)].join(_text(option, each) for each in given)
    if isinstance(given, numbers.Real) and not isinstance(given, bool):
        return str(given)
    raise TypeError


_NUMBERS = ("whole", "number", "amount", "whole-amount")
_PAIRS = {"amount": "-", "whole-amount": "-", "size": "x"}  # what stands between the two numbers of a pair
