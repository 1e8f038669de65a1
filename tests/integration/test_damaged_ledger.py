"""A group's ledger is damaged: nothing is taken off anywhere that could not be entered, and all goes on."""

from collections.abc import Iterator

import pytest
import redis

from edx_event_bus_redis.internal.client import make_client
from edx_event_bus_redis.internal.errors import ServerError
from edx_event_bus_redis.internal.group import Known, make_group_anew
from edx_event_bus_redis.internal.ledger import Ledger
from edx_event_bus_redis.internal.reader import Reader
from edx_event_bus_redis.internal.stream import Stream
from tests.support.ledgers import records_of
from tests.support.reading import add_entries, make_group, take_over_of

pytestmark = [pytest.mark.server, pytest.mark.one_version]

KNOWN = Known(pending=10, unread=20, oldest=(1, 0))


@pytest.fixture
def stream(url: str, client: redis.Redis, stream_name: str) -> Iterator[Stream]:
    """A stream of 30 entries; its group has read 10 of them, which are pending."""
    stream = Stream(make_client(url, timeout=10, connect_timeout=10), stream_name)
    make_group(client, stream_name)
    add_entries(client, stream_name, 30)
    client.xreadgroup("group", "c1", {stream_name: ">"}, count=10)
    yield stream
    stream.close()


@pytest.fixture
def ledger(stream: Stream) -> Ledger:
    """The ledger of the group."""
    return Ledger(stream, "group", "c2")


@pytest.fixture
def damaged(client: redis.Redis, ledger: Ledger) -> str:
    """The ledger's key, which holds a string."""
    client.set(ledger.key, "somebody else's")
    return ledger.key


@pytest.fixture
def reader(stream: Stream, ledger: Ledger) -> Reader:
    """A reader of the group."""
    return Reader(stream, "group", "c2", take_over_of(stream, "c2", older_than=None), ledger)


def pending(client: redis.Redis, stream: Stream) -> int:
    return int(client.xpending(stream.key, "group")["pending"])


def test_what_was_trimmed_is_counted_when_the_ledger_is_mended(
    client: redis.Redis, stream: Stream, ledger: Ledger, damaged: str, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    """The gap is read over and more is trimmed meanwhile; the log says once what is wrong, and once that it is over."""
    client.xtrim(stream.key, 15, approximate=False)
    assert len(reader.read(5).entries) == 5
    add_entries(client, stream.key, 30)
    client.xtrim(stream.key, 8, approximate=False)
    assert len(reader.read(2).entries) == 2
    with pytest.raises(ServerError, match="WRONGTYPE"):
        ledger.look()
    assert caplog.text.count("cannot be checked for losses: WRONGTYPE") == 1
    assert damaged in caplog.text

    client.delete(damaged)
    assert len(reader.read(100).entries) == 6

    assert ledger.totals()["total"] == ledger.totals()["trimmed"] == 60 - 10 - 5 - 2 - 6
    assert "can be checked for losses again" in caplog.text
    reader.read(1)
    assert not client.exists(ledger.keys[-1])


def test_a_look_that_cannot_enter_a_loss_leaves_it_to_be_found(
    client: redis.Redis, stream: Stream, ledger: Ledger, damaged: str
) -> None:
    """The monitor fails on the ledger, and enters the loss when that is mended."""
    client.xtrim(stream.key, 15, approximate=False)
    with pytest.raises(ServerError, match="WRONGTYPE"):
        ledger.look()

    client.delete(damaged)

    assert ledger.look().unread == 15
    assert ledger.totals()["total"] == 5


def test_what_was_deleted_while_pending_stays_pending(
    client: redis.Redis, stream: Stream, ledger: Ledger, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is acknowledged in the step that enters it; until then the consumer goes on, and the log says why once."""
    gone = [entry_id for entry_id, _ in client.xrange(stream.key, count=3)]
    client.xdel(stream.key, *gone)

    assert [ledger.acknowledge_gone(stream, gone) for _ in range(2)] == [0, 0]
    assert pending(client, stream) == 10
    assert caplog.text.count("cannot be checked for losses: WRONGTYPE") == 1
    client.delete(damaged)
    assert ledger.acknowledge_gone(stream, gone) == 3

    assert ledger.totals()["deleted"] == 3
    assert pending(client, stream) == 7


def test_a_take_over_leaves_what_is_lost_and_takes_the_rest(
    client: redis.Redis, stream: Stream, ledger: Ledger, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What a dead consumer has left is handled; what was deleted of it waits until it can be entered."""
    client.xdel(stream.key, *(entry_id for entry_id, _ in client.xrange(stream.key, count=3)))
    take_over = take_over_of(stream, "c2", older_than=0)

    taken = take_over.take(100)

    assert (len(taken.entries), taken.lost) == (7, [])
    assert pending(client, stream) == 10
    assert "cannot be checked for losses: WRONGTYPE" in caplog.text
    client.delete(damaged)
    assert len(take_over.take(100).lost) == 3
    assert ledger.totals()["deleted"] == 3
    assert pending(client, stream) == 7


def test_a_group_is_made_anew_all_the_same(
    client: redis.Redis, stream: Stream, ledger: Ledger, damaged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a group nothing is consumed at all: it is made, and the log has what cannot be entered."""
    last = client.xrange(stream.key, count=10)[-1][0]
    client.xgroup_destroy(stream.key, "group")

    make_group_anew(ledger, last, KNOWN)

    assert client.xinfo_groups(stream.key)[0]["last-delivered-id"] == last
    assert "Lost 10 events" in caplog.text
    assert damaged in caplog.text


NO_TOTALS = {"total": "abc", "total_trimmed": "2"}


@pytest.mark.parametrize(
    ("newest", "expected"),
    [
        ({"total": "abc", "total_trimmed": "2"}, 7),
        ({"total": "inf"}, 7),
        ({"total": "9" * 400}, 7),
        ({"total": "-3"}, 7),
        ({"somebody": "else's"}, 7),
        ({f"total_{'x' * number}": "1" for number in range(9000)}, 7),
    ],
    ids=["no number", "infinite", "too long", "negative", "no record", "very many fields"],
)
def test_the_totals_go_on_after_what_is_no_record(
    client: redis.Redis, stream: Stream, ledger: Ledger, newest: dict[str, str], expected: int
) -> None:
    """Somebody has written into the ledger: what was lost before is still counted, and so is what is lost then."""
    gone = [entry_id for entry_id, _ in client.xrange(stream.key, count=7)]
    client.xdel(stream.key, *gone)
    assert ledger.acknowledge_gone(stream, gone[:3]) == 3
    client.xadd(ledger.key, newest)  # type: ignore[arg-type]
    assert ledger.totals()["total"] == 3

    assert ledger.acknowledge_gone(stream, gone[3:]) == 4

    assert ledger.totals() == {
        "total": expected,
        "trimmed": 0,
        "deleted": 7,
        "skipped": 0,
        "group_gone": 0,
        "forgotten": 0,
        "dropped_dead_letters": 0,
    }
    assert [record.loss.count for record in records_of(ledger)] == [4, 3]


def test_the_starts_of_a_lost_suspect_are_forgotten(client: redis.Redis, stream: Stream, ledger: Ledger) -> None:
    """Whether its own consumer finds out that it was deleted or one that takes it over."""
    starts = f"{{{stream.key}}}:starts:group"
    ids = [entry_id.decode() for entry_id, _ in client.xrange(stream.key, count=3)]
    client.hset(starts, mapping={f"0/{entry_id}": "1" for entry_id in ids})
    client.xdel(stream.key, *ids[:2])

    ledger.acknowledge_gone(stream, [ids[0].encode()])
    take_over_of(stream, "c2", older_than=0).take(2)

    assert client.hkeys(starts) == [f"0/{ids[2]}".encode()]
