"""What the documentation tells to type can be typed."""

import itertools
import json
import re
import shlex
from argparse import Namespace
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from django.core.management import get_commands, load_command_class
from django.test import override_settings

from edx_event_bus_redis.internal.options import load_consumer_settings
from tests.support.pages import ROOT, blocks_of, text_of


class Typed(NamedTuple):
    """A command of a page."""

    page: str
    words: tuple[str, ...]


def typed_commands() -> Iterator[Typed]:
    """Return the commands in all blocks of shell commands that are ``manage.py``'s or ``make``'s."""
    for file in sorted([*ROOT.glob("*.rst"), *ROOT.glob("docs/**/*.rst")]):
        page = file.relative_to(ROOT).as_posix()
        commands = unfolded("".join(block.text for block in blocks_of(page) if block.language == "bash"))
        for command in re.findall(r"^(?:python )?(\S*manage\.py .*|make .*)", commands, re.MULTILINE):
            yield Typed(page, words_of(command))


def unfolded(commands: str) -> str:
    """Return commands each in one line, also those whose quoted arguments are longer."""
    commands = commands.replace("\\\n", " ")
    return re.sub(r"'\{[^']*\}'", lambda quoted: " ".join(quoted[0].split()), commands)


def words_of(command: str) -> tuple[str, ...]:
    """Return the words of a command, up to a comment, and to what is done with its output."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return tuple(itertools.takewhile(lambda word: not set(word) <= set("<>|&;"), lexer))


COMMANDS = sorted(set(typed_commands()))
OF_MANAGE = [each for each in COMMANDS if each.words[0].endswith("manage.py")]
TARGETS = set(re.findall(r"^\.PHONY: (\S+)$", text_of("Makefile"), re.MULTILINE))
OF_MAKE = [each for each in COMMANDS if each.words[0] == "make"]


def parsed(words: tuple[str, ...]) -> Namespace:
    name, *arguments = words[1:]
    return load_command_class(get_commands()[name], name).create_parser("manage.py", name).parse_args(arguments)


def check_consumer(options: Namespace) -> None:
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL="redis://localhost:6379/"):
        load_consumer_settings(options.topic[0], options.group_id[0], json.loads(options.extra))


@pytest.mark.parametrize("typed", OF_MANAGE, ids=lambda typed: " ".join(typed.words)[:80])
def test_a_command_of_a_page_is_one_that_can_be_typed(typed: Typed) -> None:
    """The command exists and takes the arguments; a consumer's options can work."""
    options = parsed(typed.words)

    if typed.words[1] == "consume_events":
        check_consumer(options)


@pytest.mark.parametrize("typed", OF_MAKE, ids=lambda typed: " ".join(typed.words))
def test_a_target_of_a_page_is_in_the_makefile(typed: Typed) -> None:
    """What a page has make do, the Makefile knows."""
    assert {word for word in typed.words[1:] if "=" not in word and not word.startswith("-")} <= TARGETS


@pytest.mark.parametrize(
    "arguments",
    [
        ["--topic", "xblock-status", "--group_id", "test_group", "--extra", '{"consumer_name": "test_group.c1"}'],
        [
            *("--topic", "xblock-deleted", "--group_id", "test_group", "--extra"),
            '{"consumer_name": "test_group.c1", "last_read_msg_id": "1679676448892-0"}',
        ],
        ["-t", "user-login", "-g", "activity", "--extra", '{"check_backlog": true, "consumer_name": "c1"}'],
        ["-t", "user-login", "-g", "activity", "--extra", '{"claim_msgs_older_than": 1800000, "consumer_name": "c1"}'],
    ],
)
def test_commands_of_the_published_package_can_be_typed(arguments: list[str]) -> None:
    """A consumer takes the options in the forms in which the published package documents them."""
    check_consumer(parsed(("manage.py", "consume_events", *arguments)))


def test_targets_of_the_published_package_are_in_the_makefile() -> None:
    """What the published package's developers have make do, the Makefile knows."""
    published = {"consume_test_event", "multiple_consumer_test_event", "produce_test_event", "redis-up"}

    assert published | {"requirements", "validate"} <= TARGETS


def test_commands_are_found() -> None:
    """There are many, so that a page in another form does not go unnoticed."""
    assert len(OF_MANAGE) > 25
    assert len(OF_MAKE) > 15
