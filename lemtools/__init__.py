"""lemtools: Unix tools for fragmented memories. To remember is to denoise.

    import lemtools

    broken = lemtools.fragment("photo.png", bits=3)
    recalled = lemtools.reconstruct(broken)
    lemtools.compare("photo.png", recalled)

docs/python.md says more. Nothing is imported before it is used.
"""

import sys

__version__ = "0.2.0"
_PACKAGE = __name__
_VERBS = ("fragment", "reconstruct", "encode", "compare", "train")  # functions, and rooms of the same names
_NAMES = {
    "load": "front",
    "save": "front",
    "fit": "front",
    "Stream": "front",
    "Signal": "signal",
    "LemError": "catalogue",
}
__all__ = [
    "LemError", "Signal", "Stream", "__version__", "compare", "encode", "fit", "fragment", "load", "reconstruct", "save", "train"
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name in _NAMES:
        from importlib import import_module

        return getattr(import_module(f"{_PACKAGE}.{_NAMES[name]}"), name)
    return _below(_PACKAGE, name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _below(parent: str, name: str) -> object:
    """A room or file of the package, imported because it is asked for."""
    if not name.startswith("_"):
        from importlib import import_module, util

        if util.find_spec(f"{parent}.{name}") is not None:
            return import_module(f"{parent}.{name}")
    raise AttributeError(f"module {parent!r} has no attribute {name!r}")


class _Room(type(sys)):
    """A room whose files are imported when they are asked for, as in lemtools.train.loop."""

    def __getattr__(self, name: str) -> object:
        return _below(self.__name__, name)


class _Verb(_Room):
    """A room that can be called, as in lemtools.fragment(x, bits=3), and is documented as what it then does."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        return self.__wrapped__(*args, **kwargs)

    @property
    def __wrapped__(self):  # (so that inspect.signature and help find the function)
        from importlib import import_module

        return getattr(import_module(f"{_PACKAGE}.front"), self.__name__.rpartition(".")[2])

    @property
    def __doc__(self):
        from inspect import getdoc, signature

        function = self.__wrapped__
        room = f"The room of that name: {self.__dict__['__doc__']}"
        return f"{function.__name__}{signature(function)}\n\n{getdoc(function)}\n\n{room}"


class _Library(type(sys)):
    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, type(sys)) and hasattr(value, "__path__"):  # a room was imported
            value.__class__ = _Verb if name in _VERBS else _Room
        super().__setattr__(name, value)


sys.modules[_PACKAGE].__class__ = _Library
