"""
What a consumer has taken from Redis and not finished: entries that were read ahead, and acknowledgements that wait.

Entries come from two streams, the topic's and that of what is delivered again to the group. The latter is looked at
about once a second, between two reads of the topic's, or when something is known to be due; while there is something in
it the two take turns. Read-ahead entries are of one of them at a time, and so are the acknowledgements.

From where the next entries of a stream come is decided by ``reader``.
"""

from __future__ import annotations

import math
import random
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from edx_event_bus_redis.internal.connections import SentAhead
from edx_event_bus_redis.internal.errors import AccessRefused, ServerError, ServerUnavailable
from edx_event_bus_redis.internal.failures import Doing, Failures
from edx_event_bus_redis.internal.ledger import Ledger
from edx_event_bus_redis.internal.message import Entry
from edx_event_bus_redis.internal.pace import AckWindow
from edx_event_bus_redis.internal.private import GroupStore
from edx_event_bus_redis.internal.protocols import Progress
from edx_event_bus_redis.internal.reader import Batch, LeftBy, Reader
from edx_event_bus_redis.internal.suspects import Suspects

# Seconds that a blocking read takes at the least.
_SHORTEST_BLOCK = 0.001

# Seconds after which entries that were read ahead are read again instead of begun. The handler before them took long,
# or the whole process stood still; somebody may have claimed them meanwhile.
_STALE = 5.0

# Seconds between two looks for events to be delivered again; sooner when one is known to be due sooner.
_AGAIN_INTERVAL = 1.0


class Intake:
    """
    The intake of one consumer.

    Arguments:
        reader: of the topic's stream.
        again_reader: of what is delivered again.
        ledger: of the group.
        store: of the group.
        suspects: among what is read.
        failures: of the consumer.
        progress: where to leave word.

    Attributes:
        ahead: entries that were read and not begun, the next one first.
        acks: acknowledgements that wait.

    Methods that ask the server raise ServerError or one of its subclasses.
    """

    def __init__(
        self,
        reader: Reader,
        again_reader: Reader,
        *,
        ledger: Ledger,
        store: GroupStore,
        suspects: Suspects,
        failures: Failures,
        progress: Progress,
    ) -> None:
        self._reader = reader
        self._again_reader = again_reader
        self._ledger = ledger
        self._store = store
        self._suspects = suspects
        self._failures = failures
        self._progress = progress
        self._from = reader
        self._ahead_since = 0.0
        self._again_due = 0.0
        # As far as is known; the time of the next look does not end a read that blocks.
        self._retry_due = math.inf
        self._topics_turn = False
        self.ahead: deque[Entry] = deque()
        self.acks = AckWindow()
        self._sent: SentAhead | None = None

    def read(self, count: int, block: float) -> None:
        """
        Read ahead, when nothing is: the acknowledgements that wait are sent before or along.

        Arguments:
            count: entries to read at the most.
            block: seconds to wait at the most if there are none.
        """
        now = time.monotonic()
        if now >= self._again_due and not self._topics_turn and self._try_again_stream(count, now):
            # More may wait, but the topic must not: the two take turns.
            self._topics_turn = True
            return
        self._topics_turn = False
        self._failures.doing = Doing.READ
        self.hear()
        # Only what came from the topic's stream can be acknowledged together with a read of it.
        if self.acks.ids and self._from is not self._reader:
            self.acknowledge()
        block = max(_SHORTEST_BLOCK, min(block, self._retry_due - now))
        self._take(self._reader.read(count, self.acks.ids, block), self._reader)

    def take_up(self, entries: Iterable[Any], *, again: bool) -> None:
        """Have what the predecessor had read in hand: entries as raw replies, and whether they are delivered again."""
        reader = self._again_reader if again else self._reader
        self._take(Batch(reader.stream.parsed(entries), [], left_by=LeftBy.PREDECESSOR), reader)

    def acknowledge(self) -> None:
        """Send the acknowledgements that wait, if there are any, and wait until they are done."""
        self.hear()
        if self.acks.ids:
            doing, self._failures.doing = self._failures.doing, Doing.READ
            self._from.acknowledge(self.acks.ids)
            self._failures.doing = doing
            self.acks.clear()
            self._say_what_is_held()

    def send_acknowledgements(self) -> None:
        """Send those that wait, and go on without the reply: see ``hear``. One that is not good is waited for."""
        sent = self._from.send_acknowledgement(self.acks.ids) if self.hear() else None
        if sent is not None and sent.is_on_its_way:
            self._sent = sent
            self.acks.were_sent()
            self._say_what_is_held()
        else:
            self.acknowledge()

    def hear(self) -> bool:
        """
        Wait for the reply to what was sent, if there was something: to be called before other commands.

        They would need another connection. Returns False if the server did not do it: then it is still to be sent.
        """
        if self._sent is None:
            return True
        done = self._sent.is_done()
        self._sent = None
        self.acks.were_answered(done=done)
        self._say_what_is_held()
        return done

    def next_is_done(self) -> None:
        """Let go of the next entry: it is handled, or somebody else's business."""
        self.ahead.popleft()
        self._say_what_is_held()

    def expect_retry(self) -> None:
        """Look at what is to be delivered again with the next read: when the first retry is due may be sooner now."""
        self._again_due = 0.0

    @property
    def is_stale(self) -> bool:
        """Whether what was read ahead has waited for so long that it may be somebody else's."""
        return time.monotonic() - self._ahead_since >= _STALE

    def forget_what_is_ahead(self) -> None:
        """
        Let go of what was read ahead: what is still pending for this consumer is read again.

        What was dropped, because somebody has deleted the group or the consumer, is pending for nobody: it is put back.
        """
        self._store.put_back(self.ahead)
        self.ahead.clear()
        self._say_what_is_held()
        self._from.begin_again()

    def failed(self) -> None:
        """Say that something failed: entries may have been given to this consumer that it has never seen."""
        self._reader.failed()
        self._again_reader.failed()

    def _say_what_is_held(self) -> None:
        # An acknowledgement on its way arrives even if this process is killed now.
        self._progress.held(len(self.ahead), len(self.acks.ids))

    def _try_again_stream(self, count: int, now: float) -> bool:
        """Read what is to be delivered again; return whether there was something, False if that cannot be known."""
        self.acknowledge()
        self._failures.doing = Doing.READ_AGAIN
        # First of all, so that a fault here does not keep the consumer from its topic.
        self._again_due, self._retry_due = now + _AGAIN_INTERVAL * random.uniform(0.8, 1.2), math.inf
        try:
            found = self._read_again(count, now)
        except ServerError as error:
            if isinstance(error, ServerUnavailable) and not isinstance(error, AccessRefused):
                raise
            # A fault of the group's own keys alone: it is waited for, and the topic goes on meanwhile.
            self.failed()
            self._again_due = now + max(_AGAIN_INTERVAL, self._failures.happened(error))
            return False
        self._failures.over()
        return found

    def _read_again(self, count: int, now: float) -> bool:
        promoted = self._store.promote()
        if promoted.next_due is not None:
            self._retry_due = now + promoted.next_due
            self._again_due = min(self._again_due, self._retry_due)
        if not promoted.waiting:
            return False
        batch = self._again_reader.read(count)
        self._take(batch, self._again_reader)
        if batch.entries:
            self._again_due = self._retry_due = now
        return bool(batch.entries)

    def _take(self, batch: Batch, reader: Reader) -> None:
        """Take what was read; what was to be acknowledged with the read is acknowledged."""
        self.acks.clear()
        self._suspects.look_at(batch)
        self._from = reader
        self.ahead.extend(batch.entries)
        self._ahead_since = time.monotonic()
        self._progress.took(batch.entries)
        if batch.entries and reader is self._reader:
            self._progress.seen(batch.entries[-1].id)
        if batch.gone_already:
            self._ledger.say_gone(reader.stream, batch.gone_already)
        if batch.gone:
            self._ledger.acknowledge_gone(reader.stream, batch.gone)
