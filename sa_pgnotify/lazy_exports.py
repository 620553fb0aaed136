"""Exports of a package whose modules are imported when one of their names is first used.

Most processes use few of the public names, and importing all modules takes longer than starting
the rest of a program. A type checker reads the imports under ``TYPE_CHECKING`` instead, which a
test compares with the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_exports"]


def lazy_exports(
    namespace: dict[str, Any], places: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of a package.

    :param namespace: the package's ``globals()``.
    :param places: the names in each of its modules. None may be a module's name too, because
        importing that module would set it.
    """
    package = namespace["__name__"]
    modules = {name: module for module, names in places.items() for name in names}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        namespace[name] = found = getattr(import_module(f"{package}.{modules[name]}"), name)
        return found

    return get, lambda: sorted({*namespace, *modules})
