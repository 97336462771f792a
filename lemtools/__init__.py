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
_NAMES = {"load": "front", "save": "front", "Stream": "front", "Signal": "signal", "LemError": "catalogue"}
__all__ = [
    "LemError", "Signal", "Stream", "__version__", "compare", "encode", "fragment", "load", "reconstruct", "save", "train"
]  # fmt: skip


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _VERBS:
        return import_module(f"{_PACKAGE}.{name}")
    if name in _NAMES:
        return getattr(import_module(f"{_PACKAGE}.{_NAMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


class _Room(type(sys)):
    """A room that can be called, as in lemtools.fragment(x, bits=3)."""

    def __call__(self, *args: object, **kwargs: object) -> object:
        from importlib import import_module

        return getattr(import_module(f"{_PACKAGE}.front"), self.__name__.rpartition(".")[2])(*args, **kwargs)


class _Library(type(sys)):
    def __setattr__(self, name: str, value: object) -> None:
        if name in _VERBS and isinstance(value, type(sys)):  # a room was imported
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[_PACKAGE].__class__ = _Library
