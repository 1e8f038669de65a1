"""The Tutor plugin among the examples renders, with the real Tutor, to what a deployment and its pools need."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.checks import run_checks
from django.test import override_settings

from devtools.environments import plain_environment
from edx_event_bus_redis.internal.options import load_consumer_settings
from tests.acceptance.manifests import EXAMPLES, Command, check_pod_of_a_pool, manifests

# The first test in a run may have to wait for the installation.
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

NAME = "event_bus_redis"
PLUGIN = EXAMPLES / "tutor" / f"{NAME}.py"
SERVICE = "event-bus-lms-xblock-lifecycle"
EVENT_TYPE, TOPIC = "org.openedx.content_authoring.xblock.published.v1", "content-authoring-xblock-lifecycle"

Render = Callable[..., Path]


@pytest.fixture
def render(deployment_tools: Path, tmp_path: Path) -> Render:
    """Render a new Tutor deployment that has the plugin, with values that are set; return its env directory."""

    def run(*arguments: str) -> None:
        environment = {
            **plain_environment(),
            "TUTOR_ROOT": str(tmp_path / "root"),
            "TUTOR_PLUGINS_ROOT": str(tmp_path / "plugins"),
        }
        done = subprocess.run(
            [deployment_tools / "tutor", *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def rendered(**values: Any) -> Path:
        (tmp_path / "plugins").mkdir()
        (tmp_path / "plugins" / PLUGIN.name).write_bytes(PLUGIN.read_bytes())
        run("plugins", "enable", NAME)
        run("config", "save", *(f"--set={name}={yaml.safe_dump(value)}" for name, value in values.items()))
        return tmp_path / "root" / "env"

    return rendered


def settings(env: Path, variant: str, mode: str, **platform: Any) -> dict[str, Any]:
    """Return the Django settings that the plugin adds to those of the platform."""
    text = (env / "apps" / "openedx" / "settings" / variant / f"{mode}.py").read_text()
    _, _, rest = text.partition("# The event bus on Redis\n")
    added, end, _ = rest.partition("# End of the event bus on Redis\n")
    assert end
    found = {"INSTALLED_APPS": ["openedx_events"], **platform}
    exec(added, found)  # noqa: S102 -- as Django would
    return {name: value for name, value in found.items() if name.isupper()}


def services(env: Path, file: str = "docker-compose.prod.yml") -> dict[str, Any]:
    composed: dict[str, Any] = yaml.safe_load((env / "local" / file).read_text())["services"]
    return {name: service for name, service in composed.items() if name.startswith("event-bus-")}


def workloads(env: Path) -> dict[str, Any]:
    found = {each["metadata"]["name"]: each for each in manifests(env / "k8s" / "deployments.yml")}
    return {name: each for name, each in found.items() if name.startswith("event-bus-")}


@pytest.mark.parametrize("mode", ["production", "development"])
@pytest.mark.parametrize("variant", ["lms", "cms"])
def test_the_settings_work(render: Render, variant: str, mode: str) -> None:
    """LMS and Studio have settings that the system check takes, and what the platform had is still there."""
    had = {"org.openedx.other.v1": {"other": {"event_key_field": "a", "enabled": True}}}

    added = settings(render(), variant, mode, EVENT_BUS_PRODUCER_CONFIG=had)

    assert added["INSTALLED_APPS"] == ["openedx_events", "edx_event_bus_redis"]
    assert added["EVENT_BUS_REDIS_CONNECTION_URL"] == "redis://redis:6379/2"
    enabled = {TOPIC: {"event_key_field": "xblock_info.usage_key", "enabled": True}}
    assert added["EVENT_BUS_PRODUCER_CONFIG"] == {**had, EVENT_TYPE: enabled}
    bus = {name: value for name, value in added.items() if name.startswith("EVENT_BUS_")}
    with override_settings(**bus):
        assert run_checks() == []


def test_the_services_are_pools(render: Render) -> None:
    """Compose and Kubernetes both start a pool whose options are right, and both give it time to stop."""
    env = render()

    assert services(env, "docker-compose.yml") == {}
    service, workload = services(env)[SERVICE], workloads(env)[SERVICE]
    check_pod_of_a_pool(workload)
    command = service["command"]
    assert command == workload["spec"]["template"]["spec"]["containers"][0]["args"]
    assert command[:3] == ["./manage.py", "lms", "consume_events"]
    parsed = Command.parsed(command)
    with override_settings(EVENT_BUS_REDIS_CONNECTION_URL="redis://redis/"):
        options = load_consumer_settings(parsed.topic, parsed.group, parsed.extra)
    assert (parsed.topic, options.max_retries, options.monitor_port) == (TOPIC, 5, 9100)
    assert service["stop_grace_period"] == "45s"
    assert service["init"] is True
    assert "http://127.0.0.1:9100/healthz" in service["healthcheck"]["test"][-1]


def test_kubernetes_takes_the_workload(render: Render, deployment_tools: Path) -> None:
    """All deployments that Tutor renders, the pool's among them, are what Kubernetes' schemas allow."""
    path = render() / "k8s" / "deployments.yml"

    done = subprocess.run(
        [deployment_tools / "kubernetes-validate", "--strict", path], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert SERVICE in done.stdout + done.stderr


def test_the_image_has_the_package_and_redis_keeps_streams(render: Render) -> None:
    """The package is installed into the image, and the last word on memory in Redis' configuration is the plugin's."""
    env = render()

    dockerfile = (env / "build" / "openedx" / "Dockerfile").read_text()
    assert "\nRUN $PIP_COMMAND install 'edx-event-bus-redis[hiredis]>=2.0,<3'\n" in dockerfile
    policies = [
        line.split()[1]
        for line in (env / "apps" / "redis" / "redis.conf").read_text().splitlines()
        if line.startswith("maxmemory-policy")
    ]
    assert policies == ["allkeys-lru", "volatile-lru"]


def test_values_that_are_set_are_rendered(render: Render) -> None:
    """Password, topics, consumers, port and time to stop are those of Tutor's configuration."""
    consumers = [
        {"name": "a", "service": "cms", "topic": "one", "group": "cms", "workers": 2},
        {"name": "b", "service": "lms", "topic": "it's", "group": "lms", "workers": 1, "extra": {"handler_timeout": 9}},
    ]

    env = render(
        REDIS_USERNAME="bus",
        REDIS_PASSWORD="p@ss/word",
        REDIS_HOST="redis.example.org",
        EVENT_BUS_REDIS_PRODUCER_CONFIG={},
        EVENT_BUS_REDIS_CONSUMERS=consumers,
        EVENT_BUS_REDIS_SHUTDOWN_TIMEOUT=120,
        EVENT_BUS_REDIS_MONITOR_PORT=9200,
    )

    added = settings(env, "lms", "production")
    assert added["EVENT_BUS_REDIS_CONNECTION_URL"] == "redis://bus:p%40ss%2Fword@redis.example.org:6379/2"
    assert added["EVENT_BUS_PRODUCER_CONFIG"] == {}
    assert services(env).keys() == workloads(env).keys() == {"event-bus-a", "event-bus-b"}
    assert services(env)["event-bus-a"]["command"][1] == "cms"
    parsed = Command.parsed(services(env)["event-bus-b"]["command"])
    assert (parsed.topic, parsed.extra["workers"], parsed.extra["handler_timeout"]) == ("it's", 1, 9)
    assert services(env)["event-bus-b"]["stop_grace_period"] == "135s"
    for workload in workloads(env).values():
        check_pod_of_a_pool(workload)
