"""The examples for Kubernetes and KEDA are what these take, and what a pool needs."""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.manifests import (
    EXAMPLES,
    MIB_BESIDE_WORKERS,
    Manifest,
    check_pod_of_a_pool,
    command_of,
    manifests,
)
from tests.acceptance.service import Event, Service
from tests.support.http import answered, free_port
from tests.support.waiting import wait_until

# The first test in a run may have to wait for the installation.
pytestmark = [pytest.mark.timeout(600), pytest.mark.slow]

FILES = sorted([*(EXAMPLES / "kubernetes").glob("*.yaml"), *(EXAMPLES / "keda").glob("*.yaml")])
WORKLOADS = {
    kind: next(each for each in manifests(EXAMPLES / "kubernetes" / f"{kind.lower()}.yaml") if each["kind"] == kind)
    for kind in ("Deployment", "StatefulSet")
}
SCALERS = {
    path.stem: next(each for each in manifests(path) if each["kind"] == "ScaledObject")
    for path in (EXAMPLES / "keda").glob("*.yaml")
}

# The oldest that knows every field, and the newest that the validator knows.
KUBERNETES_VERSIONS = ("1.27", "1.37")

# What each scaler needs, by KEDA's documentation.
METADATA = {"prometheus": {"serverAddress", "query", "threshold"}, "redis-streams": {"stream", "consumerGroup"}}

# Reads a manifest, makes the object of it that KEDA's resource definition describes, and prints that again: what the
# definition does not know is missing then.
AS_KEDA_READS_IT = """
import json, sys
from cloudcoil.models.keda import v1alpha1
manifest = json.load(sys.stdin)
resource = getattr(v1alpha1, manifest["kind"]).model_validate(manifest)
print(resource.model_dump_json(by_alias=True, exclude_unset=True))
"""


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_takes_the_manifests(deployment_tools: Path, version: str) -> None:
    """Each field of the manifests is one that Kubernetes' own schemas know, with a value that they allow."""
    done = subprocess.run(
        [deployment_tools / "kubernetes-validate", "--strict", "--kubernetes-version", version, *FILES],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    kinds = [each["kind"] for path in FILES for each in manifests(path) if not each["apiVersion"].startswith("keda.")]
    assert (done.stdout + done.stderr).count(f"against version {version}") == len(kinds)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_keda_takes_its_resources(deployment_tools: Path, path: Path) -> None:
    """KEDA's resource definitions know all that is said of its resources."""
    for manifest in manifests(path):
        if manifest["apiVersion"] == "keda.sh/v1alpha1":
            done = subprocess.run(
                [deployment_tools / "python", "-c", AS_KEDA_READS_IT],
                input=json.dumps(manifest),
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout) == manifest


@pytest.mark.parametrize("scaler", SCALERS.values(), ids=SCALERS)
def test_a_scaler_fits_the_deployment(scaler: Manifest) -> None:
    """It scales the Deployment by the lag of the group that its pods are in, and never to nothing."""
    deployment, spec = WORKLOADS["Deployment"], scaler["spec"]
    command = command_of(deployment)
    (trigger,) = spec["triggers"]

    assert spec["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert 1 <= spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]
    assert METADATA[trigger["type"]] <= trigger["metadata"].keys()
    asked = " ".join(trigger["metadata"].values())
    assert command.topic in asked
    assert command.group in asked


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_a_workload_is_what_its_pool_needs(workload: Manifest) -> None:
    """Probes, grace and labels fit the pool, its memory has room for one worker more, and it runs without rights."""
    check_pod_of_a_pool(workload)
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    extra = command_of(workload).extra
    limit = container["resources"]["limits"]["memory"]
    assert limit == "1Gi"
    assert (extra["workers"] + 1) * extra["max_memory_per_worker"] + MIB_BESIDE_WORKERS <= 1024
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert "/tmp" in [mount["mountPath"] for mount in container["volumeMounts"]]  # noqa: S108 -- in the pod


def test_both_workloads_have_the_same_pods() -> None:
    """The pods of the StatefulSet differ from those of the Deployment in the consumer name and nothing else."""
    pods = []
    for workload in WORKLOADS.values():
        spec = workload["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        env = [each for each in container["env"] if each["name"] != "POD_NAME"]
        args = [word.replace('"$(POD_NAME)"', '"consumer"') for word in container["args"]]
        pods.append({**spec, "containers": [{**container, "env": env, "args": args}]})

    assert pods[0] == pods[1]


@pytest.mark.parametrize("kind", WORKLOADS)
def test_a_drain_takes_one_pod_at_a_time(kind: str) -> None:
    """The budget is for the pods of the workload, and lets pods go that are not well anyway."""
    documents = manifests(EXAMPLES / "kubernetes" / f"{kind.lower()}.yaml")
    (budget,) = (each for each in documents if each["kind"] == "PodDisruptionBudget")

    assert budget["spec"]["selector"] == WORKLOADS[kind]["spec"]["selector"]
    assert budget["spec"]["maxUnavailable"] < WORKLOADS[kind]["spec"]["replicas"]


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_the_command_of_a_pod_works(workload: Manifest, ours: Service) -> None:
    """Two pods as the manifest starts them answer its probes, share the events, and end with status 0 when asked."""
    pods = [started(workload, ours, name) for name in ("pod-a", "pod-b")]
    events = [Event("org.openedx.learning.auth.session.login.completed.v1", n, order="sleep:0.01") for n in range(100)]

    ours.send(command_of(workload).topic, events)

    handled = ours.wait_handled(len(events))
    assert sorted(event.id for event in handled) == sorted(event.id for event in events)
    for pool in pods:
        assert pool.stop() == 0
        assert "0 entries left pending, 0 workers killed" in pool.log


def started(workload: Manifest, service: Service, pod_name: str) -> Any:
    """Start the pool of a pod; wait until its probes succeed."""
    command, port = command_of(workload), free_port()
    extra = {**command.extra, "monitor_port": port}
    extra["consumer_name"] = extra["consumer_name"].replace("$(POD_NAME)", pod_name)
    pool = service.consume(command.topic, command.group, **extra)
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = container[probe]["httpGet"]["path"]
        wait_until(lambda path=path: (reply := answered(port, path)) and reply.status == 200, what=f"{path} is well")
    taken = f"@{socket.gethostname()}" if pod_name == "pod-b" and "$(POD_NAME)" not in str(command.extra) else ""
    wait_until(lambda: f"Pool {extra['consumer_name']}{taken} answers to HTTP" in pool.log, what="the pool's name")
    return pool
