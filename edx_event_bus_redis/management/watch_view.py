"""
How a watch arranges what it sees: what is wrong, then groups, then pools with their workers.

Every column has a width that depends on that of the terminal alone, so that nothing moves between two pictures. What a
terminal is too small for is left out, what is wrong last of all, and a line says how much it is.
"""

from __future__ import annotations

import collections
import textwrap
import time
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from edx_event_bus_redis.internal.amounts import amount
from edx_event_bus_redis.internal.durations import duration
from edx_event_bus_redis.internal.findings import Finding
from edx_event_bus_redis.management.command_line import shown
from edx_event_bus_redis.management.picture import Picture
from edx_event_bus_redis.management.status_tables import counted
from edx_event_bus_redis.management.watch_lines import (
    Line,
    header_of_groups,
    header_of_workers,
    lines_of_groups,
    lines_of_pools,
)

_WRONG, _GOOD, _HEADING, _QUIET = "bold red", "green", "bold", "dim"

# Share of the lines that findings may have.
_SHARE_OF_FINDINGS = 0.3

# Lines before those of groups, and before those of pools: a blank one and the header. With so few lines as the second
# for both, pools are left out.
_FRAME, _LEAST_FOR_BOTH = 2, 8


def arranged(picture: Picture, title: str, nothing: str, width: int, height: int | None) -> RenderableType:
    """
    Return the picture as lines.

    Arguments:
        picture: what was seen.
        title: of it.
        nothing: what to say if there are no streams.
        width: of the terminal, in columns.
        height: of the terminal, in lines; None if there may be any number.
    """
    lines = [*_head(picture, title, nothing, width, height)]
    if picture.look is not None and picture.look.streams:
        groups = [*lines_of_groups(picture.before, picture.look, picture.findings, width)]
        pools = [*lines_of_pools(picture.look, picture.findings, width)]
        shares = _shares(groups, pools, None if height is None else height - len(lines))
        lines += _section(header_of_groups(width), groups, shares[0])
        lines += _section(header_of_workers(width), pools, shares[1])
    if height is not None and len(lines) > height:
        left_out = len(lines) - height + 1
        lines[height - 1 :] = [Text(f"… and {amount(left_out, 'more line')}: a larger terminal shows more", _QUIET)]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


def _head(picture: Picture, title: str, nothing: str, width: int, height: int | None) -> Iterator[Text]:
    clock = f"{_clock(picture.time)}, every {duration(picture.interval)}"
    yield Text(f"{title:<{max(0, width - len(clock) - 1)}} {clock}", _HEADING)
    look, trouble = picture.look, picture.trouble
    if trouble is not None:
        lasts = f"for {duration(max(0.0, picture.time - trouble.since))}"
        seen = f"What follows was seen at {_clock(look.time)}." if look else "Nothing has been seen yet."
        yield from _wrapped(f"{trouble.text}, {lasts}. {seen}", width, _WRONG)
    if look is None:
        return
    if not look.streams:
        yield Text(f"{nothing[0].upper()}{nothing[1:]}.")
        return
    wrong = len(picture.findings)
    if not wrong:
        # What was seen long ago is no news that all is well.
        verdict = "Nothing was wrong then." if trouble else "Nothing is wrong."
        yield Text(f"{counted(look.streams)}. {verdict}", "" if trouble else _GOOD)
        return
    yield Text(f"{counted(look.streams)}. {amount(wrong, 'thing is', 'things are')} wrong:", _WRONG)
    yield from _findings(picture.findings, width, height)


def _findings(findings: Sequence[Finding], width: int, height: int | None) -> Iterator[Text]:
    left = None if height is None else max(2, int(height * _SHARE_OF_FINDINGS))
    for number, each in enumerate(findings):
        lines = [*_wrapped(f"! {shown(each.topic)}/{shown(each.group)}: {shown(each.text)}", width, _WRONG)]
        if left is not None:
            is_last = number == len(findings) - 1
            if len(lines) + (0 if is_last else 1) > left:
                yield Text(f"… and {len(findings) - number:,} more; --check prints all of them", _WRONG)
                return
            left -= len(lines)
        yield from lines


def _wrapped(text: str, width: int, style: str) -> Iterator[Text]:
    for line in textwrap.wrap(text, max(20, width), subsequent_indent="  "):
        yield Text(line, style)


def _shares(groups: Sequence[Line], pools: Sequence[Line], lines: int | None) -> tuple[int | None, int | None]:
    """
    Return how many lines groups and pools may have, headers aside: all they need, or what there is.

    They share it by halves, but for what is wrong with the ones, if the others have as much that is not.
    """
    if lines is None:
        return None, None
    left = lines - 2 * _FRAME if pools else lines - _FRAME
    if pools and left < min(len(groups) + len(pools), _LEAST_FOR_BOTH):
        # Too few for both: groups tell more.
        return max(0, left + _FRAME - 1), 0
    for_groups = max(left // 2, left - len(pools))
    # Beside what is wrong each has a line that says what is left out.
    fewest, most = 1 + _number_wrong(groups), left - 1 - _number_wrong(pools)
    for_groups = min(max(for_groups, min(fewest, most)), max(fewest, most), len(groups))
    return for_groups, left - for_groups


def _number_wrong(lines: Iterable[Line]) -> int:
    return sum(line.is_wrong for line in lines)


def _section(header: str, lines: Sequence[Line], limit: int | None) -> Iterator[Text]:
    """
    Yield the lines under their header, or as many as there may be, in their order, and how many are left out.

    What is over is left out first, and what is wrong last; before that, lines that sum up those behind them.
    """
    is_cut = limit is not None and len(lines) > limit
    order = sorted(range(len(lines)), key=lambda index: (_rank(lines[index]), index))
    chosen = set(order[: max(0, (limit or 0) - 1)] if is_cut else order)
    if chosen:
        yield Text()
        yield Text(header, _HEADING)
    for index, line in enumerate(lines):
        if index in chosen:
            yield Text(line.text, _WRONG if line.is_wrong and not line.is_heading else "")
    if is_cut:
        left_out = [line for index, line in enumerate(lines) if index not in chosen and line.what]
        counts = ", ".join(
            amount(count, what) for what, count in collections.Counter(line.what for line in left_out).items()
        )
        wrong = _number_wrong(left_out)
        remark = f", of which {wrong:,} in trouble" if wrong else ""
        yield Text(
            f"… {counts} not shown{remark}: a larger terminal or -t TOPIC shows more", _WRONG if wrong else _QUIET
        )


def _rank(line: Line) -> int:
    if line.is_wrong:
        return 0
    return 3 if line.is_over else 1 if line.sums_up else 2


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S %Z", time.localtime(moment))
