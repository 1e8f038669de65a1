"""What manifests for Kubernetes say of a pool."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"

# Which the supervisor and the monitor may have beside the workers; docs/operations.rst.
MIB_BESIDE_WORKERS = 100

# Seconds that the end of a pool takes beyond its shutdown_timeout; docs/operations.rst.
SECONDS_TO_END = 5

Manifest = Mapping[str, Any]


def manifests(path: Path) -> list[Manifest]:
    """Return the documents of a file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


class Command(NamedTuple):
    """
    A call of ``consume_events``.

    Attributes:
        topic: of ``--topic``.
        group: of ``--group_id``.
        extra: of ``--extra``.
    """

    topic: str
    group: str
    extra: dict[str, Any]

    @classmethod
    def parsed(cls, words: list[str]) -> "Command":
        """Return what these words ask for; any other option is an error."""
        options = words[words.index("consume_events") + 1 :]
        named = dict(zip(options[::2], options[1::2], strict=True))
        topic, group, extra = (named.pop(name) for name in ("--topic", "--group_id", "--extra"))
        assert named == {}
        return cls(topic, group, json.loads(extra))


def check_pod_of_a_pool(workload: Manifest) -> None:
    """Check that the pods of a workload ask, stop and have labels as the pool in them needs it."""
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    extra = command_of(workload).extra
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        asked = container[probe]["httpGet"]
        assert (asked["path"], ports[asked["port"]]) == (path, extra["monitor_port"])
    assert extra["monitor_host"] == "0.0.0.0"  # noqa: S104 -- the pod's own network
    assert extra["check_backlog"] is True
    assert pod["terminationGracePeriodSeconds"] > extra["shutdown_timeout"] + SECONDS_TO_END
    wanted, given = workload["spec"]["selector"]["matchLabels"], workload["spec"]["template"]["metadata"]["labels"]
    assert wanted.items() <= given.items()
    mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


def command_of(workload: Manifest) -> Command:
    """Return what the container of a workload runs."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    return Command.parsed([*container.get("command", []), *container["args"]])
