"""The operations as they are reversed, compared, written down and read back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from alembic.autogenerate import render_python_code
from alembic.operations.ops import DowngradeOps, UpgradeOps
from hypothesis import given
from hypothesis import strategies as st

from alembic_ops import AlterNotifyTriggersOp, CreateNotifyTriggersOp, DropNotifyTriggersOp
from sa_pgnotify.marking.options import OPERATIONS
from sa_pgnotify.marking.spec import (
    Lookup,
    Marking,
)
from sa_pgnotify.triggers.column_sql import FAMILIES, TriggerColumn
from sa_pgnotify.triggers.function_comment import read_comment
from sa_pgnotify.triggers.parameters import from_parameters, to_parameters
from sa_pgnotify.triggers.trigger_set import TriggerSet

GIVEN = {"columns": {"id": "integer", "status": "text"}, "key": ["id"], "version": 1}


FIRST = TriggerSet.from_parameters("orders", "shop", **GIVEN)


SECOND = TriggerSet.from_parameters("orders", "shop", **GIVEN, values="all", operations=["insert"])


def parts(op: Any) -> tuple[Any, ...]:
    return (type(op), op.triggers, getattr(op, "former", None))


def test_reverse_of_each_operation():
    """Create and drop reverse to each other, an alter to the former state, and twice reversed is
    what it was."""
    here = TriggerSet.for_drop("orders", "shop")
    create, alter, drop = (
        CreateNotifyTriggersOp(FIRST),
        AlterNotifyTriggersOp(SECOND, FIRST),
        DropNotifyTriggersOp(here, FIRST),
    )
    assert parts(create.reverse()) == parts(drop)
    assert parts(drop.reverse()) == parts(create)
    assert parts(alter.reverse()) == (AlterNotifyTriggersOp, FIRST, SECOND)
    assert [parts(op.reverse().reverse()) for op in (create, alter, drop)] == [
        parts(op) for op in (create, alter, drop)
    ]


def test_what_cannot_be_reversed_says_so():
    """An alter that does not know what it replaces refuses to be reversed, as Alembic's own do; a
    drop that does not know what it removes is reversed by a statement that does nothing and says
    why."""
    with pytest.raises(
        ValueError, match="operation is not reversible; the triggers that it replaces are not known"
    ):
        AlterNotifyTriggersOp(FIRST).reverse()
    drop = DropNotifyTriggersOp(TriggerSet.for_drop("orders", "shop"), if_exists=True)
    assert drop.reverse().reverse() is drop
    code = render_python_code(DowngradeOps([drop.reverse()]))
    assert (
        "    pass  # the triggers of 'orders' cannot be restored: their definition is not known\n"
        in code
    )


def test_to_diff_tuple():
    """``compare_metadata`` gives verb, schema, table and parameters, in Alembic's manner."""
    assert CreateNotifyTriggersOp(FIRST).to_diff_tuple() == (
        "add_notify_triggers",
        "shop",
        "orders",
        FIRST.parameters,
    )
    here = TriggerSet.for_drop("orders", "shop")
    assert DropNotifyTriggersOp(here, FIRST).to_diff_tuple() == (
        "remove_notify_triggers",
        "shop",
        "orders",
        FIRST.parameters,
    )
    assert DropNotifyTriggersOp(here).to_diff_tuple() == (
        "remove_notify_triggers",
        "shop",
        "orders",
        None,
    )
    modify = ("modify_notify_triggers", "shop", "orders")
    assert AlterNotifyTriggersOp(SECOND, FIRST).to_diff_tuple() == (
        *modify,
        FIRST.parameters,
        SECOND.parameters,
    )
    assert AlterNotifyTriggersOp(SECOND).to_diff_tuple() == (*modify, None, SECOND.parameters)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)


awkward = st.sampled_from(
    [
        'a"b',
        "it's",
        "a\tb\nc",
        "%(x)s",
        ":name",
        "$function$",
        "\\",
        "all",
        "table",
        "é" * 31,
        "x" * 63,
        "{}",
    ]
)


words = texts | awkward


functions = words.map("sa_pgnotify_{}".format).filter(lambda name: len(name.encode()) <= 63)


@st.composite
def trigger_sets(draw: st.DrawFn) -> TriggerSet:
    """Any that a revision may carry."""
    families = draw(st.dictionaries(words, st.sampled_from(list(FAMILIES)), min_size=1, max_size=6))
    columns = tuple(
        TriggerColumn(name, family, draw(st.booleans())) for name, family in families.items()
    )
    some = st.lists(st.sampled_from(list(families)), unique=True).map(tuple)
    key = tuple(draw(st.lists(st.sampled_from(list(families)), unique=True, min_size=1)))
    told_of = draw(st.sets(st.sampled_from(OPERATIONS), min_size=1))
    lookups = st.builds(
        Lookup, table=words, schema=st.none() | words, discriminator=words,
        keys=st.just(tuple((name, draw(words)) for name in key)),
    )  # fmt: skip
    marking = Marking(
        operations=tuple(o for o in OPERATIONS if o in told_of),
        values=draw(some | st.just("all")),
        update_of=draw(some),
        condition=draw(st.none() | words.filter(str.strip)),
        channel=draw(st.none() | words.filter(lambda name: len(name.encode()) <= 63)),
        key=key,
        discriminator=draw(st.none() | st.sampled_from(list(families)) | lookups),
    )
    return TriggerSet(
        table=draw(words),
        schema=draw(st.none() | words),
        marking=marking,
        columns=columns,
        function=draw(st.none() | functions),
    )


@given(trigger_sets())
def test_parameters_round_trip(triggers):
    """What a revision says of triggers makes the same triggers, directly and through JSON."""
    assert from_parameters("x", **to_parameters(triggers.marking, triggers.columns)) == (
        triggers.marking,
        triggers.columns,
    )
    for said in (triggers.parameters, json.loads(json.dumps(triggers.parameters))):
        again = TriggerSet.from_parameters(triggers.table, triggers.schema, **said)
        assert again == triggers
        assert (again.body, again.settings, again.comment) == (
            triggers.body,
            triggers.settings,
            triggers.comment,
        )


@given(trigger_sets())
def test_the_comment_on_the_function_is_read_back(triggers):
    """What a downgrade restores from, the function's comment, says all of the triggers but where
    they are."""
    said = read_comment(triggers.comment)
    table = said.pop("table", None)
    assert (
        table == triggers.table
        if table is not None
        else triggers.function_name in (triggers.function, f"sa_pgnotify_{triggers.table}")
    )
    made = TriggerSet.from_parameters(
        triggers.table, triggers.schema, function=triggers.function, **said
    )
    assert made == triggers
    assert made.body == triggers.body


@given(trigger_sets())
def test_rendered_code_evaluates_to_the_same_parameters(triggers):
    """Whatever the names, the code in a revision is Python, and calls the operation with what made
    it."""
    alter = AlterNotifyTriggersOp(triggers, triggers)
    code = render_python_code(
        UpgradeOps([CreateNotifyTriggersOp(triggers), alter, DropNotifyTriggersOp(triggers)])
    )
    calls: list[Any] = []

    class Recorder:
        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: calls.append((name, args, kwargs))

    exec(f"if True:\n    {code}", {"op": Recorder()})
    place = {} if triggers.schema is None else {"schema": triggers.schema}
    everything = {**place, **triggers.parameters}
    function = {} if triggers.function is None else {"function": triggers.function}
    assert calls == [
        ("create_notify_triggers", (triggers.table,), everything),
        ("alter_notify_triggers", (triggers.table,), everything),
        ("drop_notify_triggers", (triggers.table,), {**place, **function}),
    ]
