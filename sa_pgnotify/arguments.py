"""Checks of arguments that several public classes take."""

from __future__ import annotations

from .errors import NotifyConfigError

__all__ = ["refuse_not_callable", "refuse_not_positive"]


def refuse_not_positive(subject: str, **numbers: object) -> None:
    """Refuse arguments that are not numbers above zero.

    :raises NotifyConfigError: naming the first of them.
    """
    for name, value in numbers.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not value > 0:
            raise NotifyConfigError(
                subject, f"{name}={value!r} is not a number above zero", f"Write {name}=10"
            )


def refuse_not_callable(subject: str, name: str, value: object, takes: str) -> None:
    """Refuse an argument that is neither None nor a function.

    :param takes: what the function is called with.
    :raises NotifyConfigError: if it is something else.
    """
    if value is not None and not callable(value):
        raise NotifyConfigError(
            subject, f"{name}={value!r} cannot be called", f"Give a function of {takes}"
        )
