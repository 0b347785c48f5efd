"""Which methods there are: every module of this package but the shared rooms. A method registers by existing."""

from __future__ import annotations

import importlib
import pkgutil

import methods
from methods.base import Method

SHARED = frozenset({"backbone", "base", "parts", "registry"})


def names() -> list[str]:
    """The sorted names of all methods; imports none of them."""
    return sorted(m.name for m in pkgutil.iter_modules(methods.__path__) if m.name not in SHARED)


def load(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        KeyError: no such method.
        TypeError: its module does not define exactly one ``Method``.
    """
    if name not in names():
        raise KeyError(name)
    module = importlib.import_module(f"methods.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__.startswith(module.__name__)
    ]
    if len(found) != 1:
        raise TypeError(f"methods/{name} must define exactly one Method, not {len(found)}")
    return found[0]
