"""What the README says of the published package, in the table of what is different, is what it does."""

import signal

import pytest
import redis

from tests.acceptance.logins import TOPIC, ids, leave_one_pending, logins, pending
from tests.acceptance.service import Service
from tests.support.waiting import wait_until

# The first test in a run may have to wait for the installation.
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]


def test_what_its_handler_fails_with_is_acknowledged(theirs: Service, client: redis.Redis, prefix: str) -> None:
    """The event is logged, and not handled again, by no start."""
    consumer = theirs.consume(TOPIC, check_backlog=True).wait_running()
    failing, following = logins(1, "raise:no"), logins(1, first=1)
    theirs.send(TOPIC, failing + following)
    theirs.wait_handled(1)
    wait_until(lambda: pending(client, f"{prefix}-{TOPIC}") == 0, what="nothing pending")
    assert failing[0].id in consumer.log
    consumer.stop()

    theirs.consume(TOPIC, check_backlog=True)
    last = logins(1, first=2)
    theirs.send(TOPIC, last)

    theirs.wait_handled(2)
    assert ids(theirs.handled()) == ids(following + last)


def test_it_ends_in_the_middle_of_an_event(theirs: Service, client: redis.Redis, prefix: str) -> None:
    """SIGTERM does not wait for the handler, and the event stays pending."""
    consumer = theirs.consume(TOPIC, check_backlog=True).wait_running()
    theirs.send(TOPIC, logins(1, theirs.order_to_wait()))
    wait_until(theirs.waiting, what="an event in hand")

    assert consumer.stop() == -signal.SIGTERM

    theirs.wait_no_longer()
    assert pending(client, f"{prefix}-{TOPIC}") == 1
    assert theirs.handled() == []


def test_its_second_start_skips_what_is_unread(theirs: Service, client: redis.Redis, prefix: str) -> None:
    """Without check_backlog, though another consumer of the group is at work on it."""
    theirs.consume(TOPIC, consumer_name="first", check_backlog=True).wait_running()
    in_hand, unread = logins(1, theirs.order_to_wait()), logins(20, first=1)
    theirs.send(TOPIC, in_hand + unread)
    wait_until(theirs.waiting, what="an event in hand")

    theirs.consume(TOPIC, consumer_name="second").wait_running()
    theirs.wait_no_longer()
    last = logins(1, first=21)
    theirs.send(TOPIC, last)

    theirs.wait_handled(2)
    wait_until(lambda: pending(client, f"{prefix}-{TOPIC}") == 0, what="nothing pending")
    assert ids(theirs.handled()) == ids(in_hand + last)


def test_another_one_claims_what_it_left(theirs: Service, client: redis.Redis, prefix: str) -> None:
    """If that is started with claim_msgs_older_than; without, it stays pending."""
    leave_one_pending(theirs)
    other = theirs.consume(TOPIC, consumer_name="other", check_backlog=True).wait_running()
    theirs.send(TOPIC, logins(1, first=1))
    theirs.wait_handled(1)
    wait_until(lambda: pending(client, f"{prefix}-{TOPIC}") == 1, what="one pending")
    other.stop()

    theirs.consume(TOPIC, consumer_name="other", check_backlog=True, claim_msgs_older_than=100)

    theirs.wait_handled(2)
    assert ids(theirs.handled()) == ids(logins(2))
