"""How the benchmarks judge figures: a failed run meets no target, the worst measure counts, and
figures of another machine are comparable."""

from pathlib import Path
from types import SimpleNamespace

import pytest


@pytest.fixture(name="suite")
def _suite(monkeypatch):
    """The suite's modules that need no server, by name."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent.parent / "benchmarks")
    import compare
    import sheet
    import targets

    class Suite:
        changes, promised = staticmethod(compare.changes), staticmethod(targets.targets)

        @staticmethod
        def bulk(**series):
            """A sheet of three rounds: by contestant, seconds of the INSERT, and events a
            second."""
            bulk = sheet.Sheet("bulk")
            bulk.measure("INSERT", "s", "none")
            bulk.measure("delivered", "/s", "hand_row", more=True)
            bulk.series = {
                name: {"INSERT": [i] * 3, "delivered": [d] * 3} for name, (i, d) in series.items()
            }
            return bulk

    return Suite


def test_a_failure_of_ours_is_a_target_missed(suite):
    """A task in which we failed does not go from the table of targets, as if nothing had been
    promised."""
    bulk = suite.bulk(
        none=(1.0, None), hand_row=(3.0, 100.0), identity=(1.1, 900.0), values=(1.5, 300.0)
    )
    assert all(target.met for target in suite.promised({"bulk": bulk}))
    bulk.fail("identity", "99,999 of 100,000 events")
    found = [target for target in suite.promised({"bulk": bulk}) if "identity" in target.what]
    assert (
        [(target.met, target.row()[2]) for target in found]
        == [(False, "failed")] * len(found)
        != []
    )


def test_we_are_ahead_in_a_task_as_far_as_in_its_worst_measure(suite):
    """A library that is better in one measure of a task counts, whatever its other measures are. A
    floor does not count, nor does a library that delivers less."""
    bulk = suite.bulk(
        none=(1.0, None),
        libpq=(1.0, 9e9),
        hand_key=(1.2, 1000.0),
        pgevents=(3.0, 50.0),
        identity=(1.5, 2000.0),
    )
    (ahead,) = [target for target in suite.promised({"bulk": bulk}) if "ahead" in target.what]
    assert (ahead.figure, ahead.met) == (pytest.approx(0.8), False)
    assert "INSERT, by hand" in ahead.what


def test_another_machine_is_no_change(suite):
    """Two runs are compared by their ratios: all figures of one twice as slow is not a change,
    except for a figure that is compared with nothing."""

    def run(bulk):
        return {"tasks": {"bulk": bulk.as_json()}}

    before = suite.bulk(none=(1.0, None), hand_row=(3.0, 100.0), values=(1.5, 300.0))
    slower = suite.bulk(none=(2.0, None), hand_row=(6.0, 50.0), values=(3.0, 150.0))
    reported = [
        (line.split()[1], line.rpartition(", ")[2])
        for _, line in suite.changes(run(before), run(slower))
    ]
    assert reported == [("none", "s"), ("hand_row", "/s")]
    worse = suite.bulk(none=(1.0, None), hand_row=(3.0, 100.0), values=(1.8, 300.0))
    ((verdict, line),) = suite.changes(run(before), run(worse))
    assert (verdict, line.split()[1], line.endswith("ratio to none")) == ("worse", "values", True)


def test_whoever_has_his_turn_when_a_tasks_time_is_over_has_not_failed(suite):
    """The alarm ends the task: it is not taken for an error of the contestant at hand, after which
    the task would go on without an end."""
    import run
    from arena import Arena

    failed = {}
    entry = SimpleNamespace(name="hand_key", stop=lambda: None)
    with pytest.raises(run.TooLong):
        Arena.attempt(
            None, SimpleNamespace(failed=failed, fail=failed.__setitem__), entry, run.too_long
        )
    assert failed == {}
