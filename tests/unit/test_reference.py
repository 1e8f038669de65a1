"""What the documentation lists to be looked up is what the code has, no more and no less."""

import re
from pathlib import Path

import attrs
import pytest

import edx_event_bus_redis
from edx_event_bus_redis.internal import health, names
from edx_event_bus_redis.internal.options import _OPTIONS, _POOL_CLAIM_MSGS_OLDER_THAN
from edx_event_bus_redis.internal.status import GroupStatus
from edx_event_bus_redis.internal.workers import EXIT_BAD_CONFIGURATION, EXIT_GAVE_UP
from pool.child import STEERING
from tests.support.pages import literals_in, rows_of, text_of

PACKAGE = Path(edx_event_bus_redis.__file__).parent
SETTINGS = "docs/reference/settings.rst"
# Of openedx-events.
OTHERS = {"EVENT_BUS_PRODUCER", "EVENT_BUS_CONSUMER"}


def rows(page: str, columns: int) -> dict[str, list[str]]:
    """Return the rows of the tables that have so many columns, by the literal that they begin with."""
    return {literals_in(row[0])[0]: row[1:] for row in rows_of(page) if len(row) == columns and literals_in(row[0])}


def default(cell: str) -> object:
    """Return the value that a cell in a column of defaults means."""
    words = {"none": None, "required": None, "false": False, "true": True}
    word = cell.partition(";")[0].replace(",", "")
    return words[word] if word in words else float(word) if re.fullmatch(r"\d+(\.\d+)?", word) else word


def test_every_setting_is_listed() -> None:
    """Each setting that is named anywhere in the code is in the tables of settings, and no other is."""
    sources = "".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    named = set(re.findall(r"\bEVENT_BUS_[A-Z_]*[A-Z]\b", sources))
    of_options = {literals_in(row[0])[0] for row in rows(SETTINGS, 4).values() if row[0]}

    assert rows(SETTINGS, 3).keys() | of_options == named | OTHERS


def test_every_setting_has_its_default() -> None:
    """The defaults in the table of settings are those of the annotations in the code."""
    annotated = re.findall(
        r"(?:setting|toggle)_name: (\w+)\n(?:.*toggle_implementation.*\n)? *# \.\. (?:setting|toggle)_default: (\S+)",
        "".join((PACKAGE / "internal" / name).read_text() for name in ("settings.py", "options.py")),
    )
    in_code = {name: default(value.lower()) for name, value in annotated}

    assert {name: default(row[0]) for name, row in rows(SETTINGS, 3).items() if name not in OTHERS} == in_code


def test_every_option_is_listed() -> None:
    """The keys of --extra are in the table, each with the setting of the same meaning and its default."""
    listed = {
        key: ((literals_in(setting) or [None])[0], default(value))
        for key, (setting, value, _) in rows(SETTINGS, 4).items()
    }

    assert listed == {key: (option.setting, option.default) for key, option in _OPTIONS.items()}
    assert f"in a pool {_POOL_CLAIM_MSGS_OLDER_THAN:,}" in rows(SETTINGS, 4)["claim_msgs_older_than"][1]


def test_every_key_of_a_group_is_listed() -> None:
    """The table of keys has each kind of key that groups have beside a stream, and the stream."""
    kinds = names._KINDS.split("|")
    keys = {f"{{<stream>}}:{kind}:<group>{':<pool>' * (kind == 'pool')}" for kind in kinds}

    assert rows("docs/reference/redis-keys.rst", 3).keys() == {"<stream>", *keys}


def test_every_command_is_listed() -> None:
    """The table of commands has those of this package, and the two of others that it is used by."""
    own = {path.stem for path in (PACKAGE / "management" / "commands").glob("[!_]*.py")}

    assert rows("docs/reference/commands.rst", 2).keys() == {*own, "consume_events", "check"}


def test_every_system_check_is_listed() -> None:
    """The row of ``check`` has each id that this package's checks report."""
    reported = set(re.findall(r'id="edx_event_bus_redis\.(\w+)"', (PACKAGE / "internal" / "checks.py").read_text()))

    assert set(re.findall(r"\b[EW]\d{3}\b", rows("docs/reference/commands.rst", 2)["check"][0])) == reported


def test_the_limits_of_health_are_told() -> None:
    """What the page says of ``/healthz`` has each limit by which it is decided."""
    text = text_of("docs/reference/metrics.rst")
    told = text[text.index("``/healthz``") : text.index("``/readyz``")]
    limits = (health._UNSUPERVISED, health._GRACE, health._GONE, health._SILENT)

    # Beside the status 503; 200 is a status too.
    assert set(map(int, re.findall(r"\d+", told))) == {*map(int, limits), 503}


def test_every_signal_and_exit_status_is_listed() -> None:
    """The tables have the signals that a pool answers, and the statuses that a consumer ends with."""
    text = text_of("docs/reference/signals.rst")
    signals = re.findall(r"^((?:[A-Z\d]+, )*[A-Z]+\d?)  ", text, re.MULTILINE)
    statuses = re.findall(r"^(\d)  ", text, re.MULTILINE)

    assert set(", ".join(signals).split(", ")) == {"TERM", "INT"} | {each.name[3:] for each in STEERING}
    assert set(map(int, statuses)) == {0, EXIT_GAVE_UP, EXIT_BAD_CONFIGURATION}


@pytest.mark.parametrize("name", sorted(set(attrs.fields_dict(GroupStatus)) - {"group", "last_delivered_id"}))
def test_every_number_of_a_group_is_listed(name: str) -> None:
    """The status page says what each key of the JSON means."""
    assert f"``{name}``" in text_of("docs/reference/status.rst")
