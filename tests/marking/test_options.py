"""The table of options: that nothing is declared beside it."""

from __future__ import annotations

from dataclasses import fields

import pytest

from sa_pgnotify import NotifyConfigError, NotifySpec
from sa_pgnotify.marking.options import OPTIONS
from sa_pgnotify.marking.spec import Marking
from sa_pgnotify.triggers.parameters import FOUND, ORDER, from_parameters, to_parameters

FOUND_IN_CLASSES = {"key", "discriminator", "log_schema", "unmapped"}
"""The fields of a marking that no declaration gives."""


def test_every_option_has_its_row():
    """A field of NotifySpec without a row would be checked by nothing and reach no trigger."""
    assert [option.declared_as for option in OPTIONS] == [f.name for f in fields(NotifySpec)]
    assert {option.name for option in OPTIONS} == {f.name for f in fields(Marking)} - (
        FOUND_IN_CLASSES
    )


def test_a_row_has_the_default_of_its_field():
    """Migrations leave out what has its default, so one that changed would change what they do."""
    spec = NotifySpec()
    for option in OPTIONS:
        assert getattr(spec, option.declared_as) == option.default, option.name
    marking, columns = from_parameters("t", columns={"id": "integer"}, key=["id"])
    assert {o.name: getattr(marking, o.name) for o in OPTIONS} == {
        o.name: o.default for o in OPTIONS
    }
    assert to_parameters(marking, columns).keys() == {"columns", "key", "operations"}


def test_the_order_of_version_1_names_parameters_that_exist():
    """A parameter that is misspelled in the order would be written at the end, and comments would
    differ from those of version 1."""
    assert set(ORDER) <= {"columns", "key", *FOUND, *(option.name for option in OPTIONS)}


def test_an_error_carries_problem_and_fix():
    """Programs that print errors in their own layout need no full stop to find the fix."""
    with pytest.raises(NotifyConfigError) as caught:
        NotifySpec(operations=())
    error = caught.value
    assert (error.subject, error.problem) == ("NotifySpec", "operations is empty")
    assert error.fix == "Write __notify__ = None to publish nothing"
    assert str(error) == f"{error.subject}: {error.problem}. {error.fix}"
