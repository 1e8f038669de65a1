"""What a run has come to, as text: a page of the documentation, and a few lines for the terminal."""

from __future__ import annotations

import platform
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence

import redis

from tests.chaos.bars import Bar
from tests.chaos.books import SLOW
from tests.chaos.engine import Result
from tests.chaos.plan import Plan

_HEAD = """\
Fault suite
###########

``make chaos`` writes this page. Two pools consume one group while random faults hit them, the server and the network;
then the books are balanced by event id: what was sent is handled, or a dead letter, or in the ledger of losses. An
event is handled twice only if the process that handled it was killed or frozen before it was acknowledged, or if its
group was deleted when one pool had read it and the other one had not.

Order and time of the faults are drawn by the seed. Every kind is tried in each half of ten minutes until it applies.
"""


_TAKE_OVER = """\
Seconds from the end of a process until the event that it had in hand was begun again, whatever else was going on: other
faults, the delay of a replacement that keeps dying, a pool that is down for up to two seconds.
"""


def page(plan: Plan, result: Result, bars: Sequence[Bar]) -> str:
    """Return the page in reStructuredText."""
    surroundings = [
        ("Seed", str(plan.seed)),
        ("Seconds of faults", f"{plan.seconds:.0f}"),
        ("Workers", f"2 pools of {plan.workers}" + (" under one consumer name" if plan.one_name else "")),
        ("Faults that lose events", "among them" if plan.losses else "not among them"),
        ("Server", f"{result.server}, append-only file, every write synced"),
        ("Client", f"redis-py {redis.__version__}, Python {platform.python_version()}"),
        ("Books", "balanced" if not result.wrong else f"**{len(result.wrong)} lines do not balance**"),
        ("All settled", f"{result.settled_after:.1f} s after the last fault"),
    ]
    parts = [
        _HEAD,
        _section("The run", ("", ""), surroundings),
        _section("Faults", ("Kind", "Times"), [(name, f"{count:,}") for name, count in result.faults.most_common()]),
        _section("Events", ("", "Events"), events(result)),
        _section("Take-over", ("What ended", "Times", "Median", "Longest"), take_overs(result)),
        _TAKE_OVER,
    ]
    if bars:
        parts.append(_section("Bars", ("What is done", "What came of it"), [(bar.name, bar.outcome) for bar in bars]))
    return "\n".join(parts)


def events(result: Result) -> list[tuple[str, str]]:
    """Return rows: what, how many."""
    books = result.books
    handled = {each.event_id for each in books.handled}
    repeats = Counter(books.sent[event_id].kind for ids in books.repeats().values() for event_id in ids)
    return [
        ("sent", f"{sum(sent.entry_id is not None for sent in books.sent.values()):,}"),
        ("sent, but the server died before it said so", f"{sum(not sent.entry_id for sent in books.sent.values()):,}"),
        ("handled", f"{len(handled):,}"),
        ("dead letters", f"{len(books.dead):,}"),
        ("lost, in a range of the ledger", f"{len(books.lost()):,}"),
        ("lost, as the ledger counts", f"{sum(loss.count for loss in books.ledger):,}"),
        ("handled again, handlers of 5 and 50 ms", f"{sum(repeats[kind] for kind in SLOW):,}"),
        ("handled again, handlers of 0 ms", f"{sum(repeats[kind] for kind in repeats if kind not in SLOW):,}"),
        ("workers killed or frozen, those of killed pools included", f"{len(books.ended):,}"),
        ("workers killed by an event", f"{_killed_by_events(result):,}"),
        ("pools started again", f"{result.restarts:,}"),
    ]


def take_overs(result: Result) -> list[tuple[str, str, str, str]]:
    """Return rows: what ended, how often with an event in hand, seconds until that was begun again."""
    return [
        (how, f"{len(seconds):,}", f"{statistics.median(seconds):.2f} s", f"{max(seconds):.2f} s")
        for how, seconds in sorted(result.books.take_overs().items())
    ]


def _killed_by_events(result: Result) -> int:
    sent = result.books.sent
    return sum(sent[each.event_id].kind == "kills" for each in result.books.begun if each.event_id in sent)


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [title, "*" * len(title), "", ".. list-table::"]
    named = [head] if any(head) else []
    if named:
        lines.append("   :header-rows: 1")
    lines.append("")
    for row in [*named, *rows]:
        lines += [f"   {'*' if not column else ' '} - {cell}".rstrip() for column, cell in enumerate(row)]
    return "\n".join([*lines, ""])
