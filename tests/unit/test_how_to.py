"""What the how-to pages say can be done."""

import json
import re
from pathlib import Path

import pytest

from edx_event_bus_redis.internal.options import load_consumer_settings

DOCS = Path(__file__).parent.parent.parent / "docs"
PAGES = sorted((DOCS / "how-to").glob("*.rst"))

EXTRA = re.compile(r"--extra[\s\\]+'(\{.*?\})'", re.DOTALL)


def test_links_lead_somewhere() -> None:
    """Each file that a page links to is there."""
    links = [
        page.parent / link
        for page in PAGES
        for link in re.findall(r"<([^<>:]+)>`__?", re.sub(r"\s+", " ", page.read_text()))
    ]

    assert links
    assert [link for link in links if not link.is_file()] == []


@pytest.mark.parametrize(
    ("page", "extra"), [(page.stem, extra) for page in PAGES for extra in EXTRA.findall(page.read_text())]
)
def test_options_of_a_command_are_taken(page: str, extra: str, bus_settings: None) -> None:
    """A consumer takes the options of each command line."""
    load_consumer_settings("topic", "group", json.loads(extra))


def test_the_unit_is_the_one_that_is_explained() -> None:
    """What the page shows of the unit is in it."""
    unit = (DOCS / "examples" / "edx-event-bus-consumer@.service").read_text().splitlines()
    shown = re.search(r"\[Service\]\n((?:   .*\n)+)", (DOCS / "how-to" / "systemd.rst").read_text())

    assert shown
    assert [line for line in shown.group(1).splitlines() if line.strip() not in [each.strip() for each in unit]] == []
