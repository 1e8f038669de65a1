"""``manage.py event_bus_status``: shows streams, their groups, and the consumers and pools of these."""

from __future__ import annotations

import json
import time
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandParser
from rich.console import Console

from edx_event_bus_redis.internal.errors import ServerError
from edx_event_bus_redis.internal.findings import findings
from edx_event_bus_redis.internal.names import private_keys, stream_key
from edx_event_bus_redis.internal.settings import StatusSettings, load_status_settings
from edx_event_bus_redis.internal.survey import Survey
from edx_event_bus_redis.management.command_line import connected, loaded, shown, told
from edx_event_bus_redis.management.screens import JsonLines, Screen, screen_for
from edx_event_bus_redis.management.status_json import error_as_json, looks_as_json, streams_as_json
from edx_event_bus_redis.management.status_options import add_options, chosen_options
from edx_event_bus_redis.management.status_tables import counted, print_streams
from edx_event_bus_redis.management.watch import Watch

# Of --check. That nothing can be known is 3 to Nagios and its kin too.
_EXIT_PROBLEM, _EXIT_UNKNOWN = 1, 3

# Seconds that Redis may take to answer while it is watched: the picture stands still for so long.
_WATCH_REPLY_TIMEOUT = 5.0


class Command(BaseCommand):
    """Shows the state of the event bus."""

    help = (
        "Show streams, their groups with what these have not read, not finished and lost, and the consumers and pools "
        "of each group, as Redis knows them: from any host, also when no consumer runs. "
        "Exit status 0 if Redis could be asked, also if there is nothing of that name; 1 if it could not; 2 if an "
        "option or a setting cannot work. With --check: 0 if nothing is wrong, 1 if something is, 2 as without, 3 if "
        "Redis could not be asked or there is no stream. Example: manage.py event_bus_status -t user-login --watch"
    )

    # A setting that cannot work is named here in one line, where the checks would make several.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        add_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what is asked for, and end with one line if Redis cannot be asked."""
        self._options = chosen_options(options)
        self._settings = loaded(lambda: load_status_settings(options["topic"]))
        timeout = None if self._options.watch is None else _WATCH_REPLY_TIMEOUT
        with connected(self._settings.server, keys=_keys(self._settings), reply_timeout=timeout) as clients:
            survey = Survey(clients, self._settings, self._options.limits.losses_seconds)
            if self._options.check is not None:
                self._check(survey, self._options.check)
            elif self._options.watch is not None:
                self._watch(survey, self._options.watch)
            else:
                self._show(survey)

    def _show(self, survey: Survey) -> None:
        streams = survey.look().streams
        if self._options.as_json:
            self.stdout.write(json.dumps(streams_as_json(streams), indent=2))
        elif streams:
            print_streams(Console(file=cast("IO[str]", self.stdout), highlight=False), streams)
        else:
            self.stdout.write(_nothing(self._settings))

    def _check(self, survey: Survey, seconds: float) -> None:
        try:
            before = survey.look()
            time.sleep(seconds)
            after = survey.look()
        except ServerError as error:
            text = self._told(error)
            self.stdout.write(json.dumps(error_as_json(text)) if self._options.as_json else f"UNKNOWN {text}")
            raise SystemExit(_EXIT_UNKNOWN) from None
        found = findings(before, after, self._options.limits)
        if self._options.as_json:
            self.stdout.write(json.dumps(looks_as_json(before, after, found), indent=2))
        elif found:
            for each in found:
                self.stdout.write(f"PROBLEM {shown(each.topic)}/{shown(each.group)}: {shown(each.text)}")
        elif after.streams:
            self.stdout.write(f"OK {counted(after.streams)}: nothing is wrong")
        else:
            self.stdout.write(f"UNKNOWN {_nothing(self._settings)}")
        if found or not after.streams:
            raise SystemExit(_EXIT_PROBLEM if found else _EXIT_UNKNOWN)

    def _watch(self, survey: Survey, interval: float) -> None:
        # What is written are no lines that need an end.
        self.stdout.ending = ""
        out = cast("IO[str]", self.stdout)
        if self._options.as_json:
            screen: Screen = JsonLines(out)
        else:
            screen = screen_for(out, f"Event bus on {self._settings.server}", _nothing(self._settings))
        Watch(survey, screen, self._options.limits, interval, told=self._told).run()

    def _told(self, error: ServerError) -> str:
        return told(error, self._settings.server, keys=_keys(self._settings))


def _keys(settings: StatusSettings) -> str:
    streams = shown(stream_key(settings.topic or "*", settings.topic_prefix))
    return f"{streams} and {private_keys(streams)}*"


def _nothing(settings: StatusSettings) -> str:
    if settings.topic is not None:
        return f"there is no stream {shown(stream_key(settings.topic, settings.topic_prefix))}"
    if settings.topic_prefix is not None:
        return f"there is no stream whose name begins with {shown(stream_key('', settings.topic_prefix))}"
    return "there is no stream"
