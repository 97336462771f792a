"""A row of the catalogue, and an option that its user may set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

PACKAGE = __name__.split(".")[0]


class Option(NamedTuple):
    """A value that a user may set, as it is written on a command line, in a TOML file or as a keyword.

    flag: its long spelling, as in '--mask-shape'; short: a second one. help: sentences, without the default; '{of}' in
    it stands for the names of the table `of`. type: 'text', 'flag', 'whole', 'number', 'amount' or 'whole-amount' (a
    number, or A-B for a draw per item), 'size' (W x H in px), 'bytes' (as 512M), 'choice' of the names in `of`, or a tuple of the words that it takes. low, high:
    ends of the range of a number; open: those that it leaves out, of 'low' and 'high'. default: the value where none is
    given; usual: what is said of it where it is no constant. multiple: it may be given several times. env: the variable
    of the environment that sets it, too. param: the keyword, where that is not the flag's own words. words: what a shell
    offers where others are taken, too; one that ends in : = @ or / wants more behind it. settled: it is decided when a
    thing is fitted, not when it is used; decodes: when it decodes. file: its value names a file. section: where help lists it, where that is not among what the command does.
    """

    flag: str
    help: str
    type: str | tuple[str, ...] = "text"
    of: Iterable[str] | None = None
    low: float | None = None
    high: float | None = None
    open: tuple[str, ...] = ()
    default: Any = None
    usual: str = ""
    metavar: str = ""
    multiple: bool = False
    short: str = ""
    env: str = ""
    param: str = ""
    words: tuple[str, ...] = ()
    settled: bool = False
    decodes: bool = False
    file: bool = False
    section: str = ""

    @property
    def name(self) -> str:
        """The keyword under which its value is passed on."""
        return self.param or self.flag.lstrip("-").replace("-", "_")

    def value(self) -> Any:
        """Its default, as a program has it: a list where it is several, False for a flag."""
        if self.type == "flag":
            return bool(self.default)
        return list(self.default) if isinstance(self.default, tuple) else self.default

    def fits(self, value: Any) -> bool:
        """Whether a value that is no text of a command line, as of a TOML file or JSON, is one that it takes."""
        if value is None:
            return self.default is None
        if self.type == "text":
            return True
        if self.type == "choice":
            return value in tuple(self.of or (value,))
        if isinstance(self.type, tuple):
            return value in self.type
        if isinstance(value, bool) or self.type == "flag":
            return isinstance(value, bool) and self.type == "flag"
        low, high = (
            (-float("inf") if self.low is None else self.low),
            (float("inf") if self.high is None else self.high),
        )
        return isinstance(value, int if self.type == "whole" else (int, float)) and low <= value <= high

    def wanted(self) -> str:
        """What it takes, in words."""
        if isinstance(self.type, tuple) or self.type == "choice":
            return ", ".join(self.of or () if self.type == "choice" else self.type)
        ends = ((self.low, "from"), (self.high, "to"))
        limits = "".join(f" {word} {end:g}" for end, word in ends if end is not None)
        return {"flag": "true or false", "whole": "a whole number", "number": "a number"}[str(self.type)] + limits

    def described(self) -> str:
        """Its help, with the names of its table in it."""
        names = getattr(self.of, "shown", self.of) or ()
        return self.help.replace("{of}", ", ".join(names))


class Row(NamedTuple):
    """One thing: its name, what makes or does it, and all that the tools have to know of it.

    target: 'module:function' (or a module) below the package, imported when it is used, or the function itself. help: a sentence for
    lists. kinds: of memory that it suits; () for all. options: that it takes. needs: resources that it cannot do
    without, by name. shown: how the name stands in lists, as in 'patch:S'. facts: what only things of its table have;
    each is an attribute, too.
    """

    name: str
    target: str | Callable[..., Any]
    help: str = ""
    kinds: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    needs: tuple[str, ...] = ()
    shown: str = ""
    facts: Mapping[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "facts" or name not in self.facts:
            raise AttributeError(f"{name!r} is no fact of {self.name}")
        return self.facts[name]

    def load(self) -> Any:
        """The function, class or module that the row names."""
        return loaded(self.target)

    def suits(self, kind: str) -> bool:
        """Whether it is for this kind of memory."""
        return not self.kinds or kind in self.kinds

    def takes(self, option: str) -> bool:
        """Whether it has an option, by its keyword."""
        return any(o.name == option for o in self.options)


def loaded(target: str | Callable[..., Any]) -> Any:
    """What a target names: a function is itself."""
    if not isinstance(target, str):
        return target
    path, _, name = target.partition(":")
    module = import_module(f"{PACKAGE}.{path}")
    return getattr(module, name) if name else module
