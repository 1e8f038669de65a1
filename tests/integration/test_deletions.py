"""Somebody deletes entries: what is lost by that, and by trims before and after it, is counted exactly."""

import random
from collections.abc import Callable, Iterator

import pytest
import redis

from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.ledger import Ledger
from edx_event_bus_redis.internal.message import split_id
from edx_event_bus_redis.internal.stream import Stream
from tests.support.ledgers import records_of
from tests.support.reading import add_entries, make_group, reader_of

pytestmark = [pytest.mark.server, pytest.mark.one_version]


class Scene:
    """A group of three readers, and what is known of its entries."""

    def __init__(self, client: redis.Redis, stream: Stream) -> None:
        self.client = client
        self.name = stream.key
        self.ledger = Ledger(stream, "group", "test")
        self.sent: list[bytes] = []
        self.read: list[bytes] = []
        make_group(client, self.name)
        self.readers = [reader_of(stream, f"c{number}") for number in range(3)]

    def add(self, count: int) -> None:
        """Append entries."""
        self.sent += add_entries(self.client, self.name, count)

    def take(self, count: int, reader: int = 0) -> None:
        """Have a reader read."""
        self.read += [entry.id for entry in self.readers[reader].read(count).entries]

    def delete(self, *ids: bytes) -> None:
        """Delete entries."""
        if ids:
            self.client.xdel(self.name, *ids)

    def trim(self, length: int) -> None:
        """Leave so many entries."""
        self.client.xtrim(self.name, length, approximate=False)

    @property
    def unread(self) -> list[bytes]:
        """What is behind the cursor."""
        cursor = self.client.xinfo_groups(self.name)[0]["last-delivered-id"]
        return [entry_id for entry_id, _ in self.client.xrange(self.name, b"(" + cursor)]

    def finish(self) -> int:
        """Read to the end; return how many the ledger says are lost."""
        while self.unread:
            self.take(100)
        self.take(100)
        return self.ledger.totals()["total"]

    def in_ranges(self) -> set[bytes]:
        """What was never read and lies in a range of the ledger."""
        losses = [record.loss for record in records_of(self.ledger, 1000)]
        return {
            each
            for each in {*self.sent} - {*self.read}
            if any(split_id(loss.first) <= split_id(each) <= split_id(loss.last) for loss in losses)
        }

    @property
    def missing(self) -> int:
        """How many were sent and not read."""
        return len(set(self.sent) - set(self.read))


@pytest.fixture
def scene(url: str, client: redis.Redis, stream_name: str) -> Iterator[Scene]:
    """A scene with nothing in it."""
    stream = Stream(make_client(url, timeout=10, connect_timeout=10), stream_name)
    yield Scene(client, stream)
    stream.close()


def delete_at_the_cursor(scene: Scene) -> None:
    scene.delete(scene.read[-1])


def delete_the_newest(scene: Scene) -> None:
    scene.delete(*scene.sent[-10:])


def delete_in_the_middle(scene: Scene) -> None:
    scene.delete(*scene.unread[len(scene.unread) // 2 :][:10])


def delete_far_behind_the_cursor(scene: Scene) -> None:
    scene.delete(scene.read[0])


@pytest.mark.parametrize("backlog", [200, 1500])
@pytest.mark.parametrize(
    "delete", [delete_at_the_cursor, delete_the_newest, delete_in_the_middle, delete_far_behind_the_cursor]
)
def test_what_is_trimmed_after_a_deletion_is_counted(
    scene: Scene, delete: Callable[[Scene], None], backlog: int
) -> None:
    """The server loses count of what the group has read when it reads on after a deletion; the ledger does not."""
    scene.add(5)
    scene.take(5)
    scene.add(backlog)
    delete(scene)
    scene.take(3)
    scene.take(1, reader=1)

    scene.trim(100)
    scene.take(3, reader=2)
    scene.add(30)
    scene.trim(20)

    assert scene.finish() == scene.missing > 0
    assert scene.ledger.look().unread == 0


@pytest.mark.parametrize("backlog", [200, 1500])
def test_a_trim_right_after_the_first_read_behind_a_deletion_is_counted(scene: Scene, backlog: int) -> None:
    """The reader that has moved the cursor has put the number right by the time that its read returns."""
    scene.add(backlog)
    scene.take(5)
    scene.delete(scene.unread[backlog // 2])

    scene.take(5)
    scene.trim(10)

    assert scene.finish() == scene.missing == backlog - 20


def test_what_was_deleted_unread_is_counted_however_much_is_behind_it(scene: Scene) -> None:
    """A backlog of which one step counts a part only: what was deleted is in the ledger when all is read."""
    scene.add(1500)
    scene.take(5)
    scene.delete(*scene.unread[100:400])

    assert scene.finish() == scene.missing == 300


@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_between_reads_the_books_balance(scene: Scene, seed: int) -> None:
    """Entries added, read by three, deleted before and after, trimmed: as many are in the ledger as were never read."""
    choices = random.Random(seed)
    for _ in range(150):
        what = choices.random()
        if what < 0.4:
            scene.add(choices.choice([1, 5, 50, 300]))
        elif what < 0.8:
            scene.take(choices.choice([1, 10, 100]), choices.randrange(3))
        elif what < 0.88:
            scene.trim(choices.choice([5, 50, 300, 800]))
        elif what < 0.92:
            scene.delete(*choices.sample(scene.unread, min(len(scene.unread), 5)))
        elif what < 0.96:
            scene.delete(*scene.read[-choices.randint(1, 5) :])
        else:
            scene.ledger.look()

    assert scene.finish() == scene.missing == len(scene.in_ranges()) > 0
    assert scene.client.xinfo_groups(scene.name)[0]["lag"] == 0


def test_each_range_has_what_was_deleted_behind_what_was_trimmed(scene: Scene) -> None:
    """One record for both, though unread entries lie in between; and it begins no earlier than need be."""
    scene.add(100)
    scene.take(10)
    scene.delete(*scene.sent[80:85])
    scene.trim(60)

    assert scene.finish() == len(scene.in_ranges()) == scene.missing == 30
    first = min(split_id(record.loss.first) for record in records_of(scene.ledger))
    assert first > split_id(scene.sent[9])


def test_a_reader_of_other_software_in_between_costs_no_count(scene: Scene) -> None:
    """It leaves the group without a number; the next reader of this package finds out what it has read."""
    scene.add(300)
    scene.take(5)
    scene.delete(scene.unread[200])
    scene.take(5)
    ((_, taken),) = scene.client.xreadgroup("group", "other software", {scene.name: ">"}, count=20)
    scene.read += [entry_id for entry_id, _ in taken]
    scene.take(1)

    scene.trim(50)

    assert scene.finish() == scene.missing > 0


def test_the_first_check_behind_a_deletion_leaves_nothing_behind_for_good(scene: Scene) -> None:
    """The bookmark is there while it is needed, and then no more."""
    bookmark = f"{{{scene.name}}}:read:group"
    scene.add(20)
    scene.take(5)
    assert not scene.client.exists(bookmark)
    scene.delete(scene.unread[3])

    scene.take(3)
    assert scene.client.exists(bookmark)
    scene.finish()
    scene.take(1)

    assert not scene.client.exists(bookmark)


@pytest.mark.parametrize("garbage", ["string", "hash"])
def test_garbage_in_the_bookmark_is_passed_over(scene: Scene, garbage: str) -> None:
    """Somebody else has written there: nothing fails, and the bookmark is made anew."""
    bookmark = f"{{{scene.name}}}:read:group"
    scene.add(300)
    scene.take(5)
    scene.delete(scene.unread[200])
    if garbage == "string":
        scene.client.set(bookmark, "x")
    else:
        scene.client.hset(bookmark, mapping={"cursor": "a", "read": "b", "added": "1", "removed": "0", "deleted": "-"})

    scene.take(5)
    scene.trim(50)

    assert scene.finish() == scene.missing > 0


def test_what_cannot_be_known_is_not_entered(scene: Scene) -> None:
    """Other software reads after a deletion, and what it has read is trimmed at once: no loss is made up."""
    scene.add(1500)
    scene.take(5)
    scene.delete(scene.unread[1000])
    scene.take(5)
    ((_, taken),) = scene.client.xreadgroup("group", "other software", {scene.name: ">"}, count=20)
    scene.read += [entry_id for entry_id, _ in taken]
    scene.trim(1475)

    assert scene.finish() <= scene.missing
