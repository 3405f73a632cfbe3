"""What no schema sees: that the manifests fit each other, the code, and the rules of a restricted namespace."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from service.cluster.arena import Layout
from service.settings import Settings
from tests.conftest import ROOT
from tests.deploy.manifests import (
    COMPONENTS,
    DEPLOY,
    OVERLAYS,
    Resource,
    amount,
    answers,
    compose,
    containers,
    of_kind,
    one,
    pod,
    resources,
    service,
    settings,
)

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SHM = "/dev/shm"
every_overlay = pytest.mark.parametrize("overlay", [DEPLOY / "base", *OVERLAYS], ids=lambda path: path.name)


@pytest.fixture(params=[(), *((path,) for path in COMPONENTS)], ids=lambda paths: paths[0].name if paths else "none")
def deployed(request: pytest.FixtureRequest, tmp_path: Path) -> list[Resource]:
    """The CPU's overlay, bare and with each component."""
    return resources(compose(tmp_path, DEPLOY / "overlays" / "cpu", request.param))


def of(found: list[Resource]) -> Settings:
    """Return the settings that the service reads from its environment."""
    given = {name.removeprefix("RESNET_").lower(): value for name, value in settings(found).items()}
    return Settings(**given)


@every_overlay
def test_every_variable_is_a_setting_of_the_service(overlay: Path) -> None:
    found = resources(overlay)
    for name in settings(found):
        assert name in {f"RESNET_{field.upper()}" for field in Settings.model_fields}
    assert of(found).host == "0.0.0.0"
    assert "env" not in service(found), "settings come from the ConfigMap alone"


@every_overlay
def test_ports_are_those_that_the_service_listens_on(overlay: Path) -> None:
    found = resources(overlay)
    ports = {each["name"]: each["containerPort"] for each in service(found)["ports"]}
    assert ports == {"http": of(found).port, "management": of(found).management_port}
    assert {each["targetPort"] for each in one(found, "Service")["spec"]["ports"]} == set(ports)
    for policy in of_kind(found, "NetworkPolicy"):
        for rule in policy["spec"].get("ingress", ()):
            assert {each["port"] for each in rule["ports"]} <= set(ports)
    for monitor in of_kind(found, "ServiceMonitor"):
        names = {each["name"] for each in one(found, "Service")["spec"]["ports"]}
        assert {each["port"] for each in monitor["spec"]["endpoints"]} <= names


@every_overlay
def test_probes_ask_what_the_code_answers_at_the_port_where_it_does(overlay: Path) -> None:
    container = service(resources(overlay))
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: get["path"] for name, get in asked.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/readyz",
    }
    for get in asked.values():
        assert get["port"] == "management"
        assert answers(of(resources(overlay)), get["path"]) == {"http": False, "management": True}
    for monitor in of_kind(resources(overlay), "ServiceMonitor"):
        assert answers(of(resources(overlay)), monitor["spec"]["endpoints"][0]["path"])["management"]


@every_overlay
def test_a_pod_has_longer_to_end_than_the_service_takes(overlay: Path) -> None:
    found = resources(overlay)
    chosen, grace_s = of(found), pod(found)["spec"]["terminationGracePeriodSeconds"]
    assert grace_s > chosen.drain_delay_s + chosen.shutdown_timeout_s
    assert chosen.shutdown_timeout_s >= chosen.drain_delay_s + chosen.request_timeout_ms / 1000
    # Readiness is withdrawn, and that is noticed, while requests are still answered.
    probe = service(found)["readinessProbe"]
    assert chosen.drain_delay_s > probe["periodSeconds"] * probe["failureThreshold"]


def test_requests_are_within_limits(deployed: list[Resource]) -> None:
    for container in containers(pod(deployed)["spec"]):
        asked, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert {"cpu", "memory"} <= asked.keys() <= limits.keys()
        for name, quantity in asked.items():
            assert amount(quantity) <= amount(limits[name]), f"{container['name']}: {name}"


@every_overlay
def test_selectors_find_the_pods_and_nothing_else(overlay: Path) -> None:
    found = resources(overlay)
    labels = pod(found)["metadata"]["labels"]
    selected = [
        one(found, "Deployment")["spec"]["selector"]["matchLabels"],
        one(found, "Service")["spec"]["selector"],
        one(found, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        *(each["spec"]["podSelector"]["matchLabels"] for each in of_kind(found, "NetworkPolicy")),
        *(each["labelSelector"]["matchLabels"] for each in pod(found)["spec"]["topologySpreadConstraints"]),
    ]
    for selector in selected:
        assert selector
        assert selector.items() <= labels.items()
    for monitor in of_kind(found, "ServiceMonitor"):
        of_service = one(found, "Service")["metadata"]["labels"]
        assert monitor["spec"]["selector"]["matchLabels"].items() <= of_service.items()
        # The alerts name the job.
        assert of_service[monitor["spec"]["jobLabel"]] == "resnet-serve"
    for scaler in of_kind(found, "HorizontalPodAutoscaler") + of_kind(found, "ScaledObject"):
        assert scaler["spec"]["scaleTargetRef"]["name"] == one(found, "Deployment")["metadata"]["name"]


def test_pods_pass_as_restricted(deployed: list[Resource]) -> None:
    """Each control of the Pod Security Standards' restricted profile that says anything about such pods."""
    spec = pod(deployed)["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    for volume in spec["volumes"]:
        assert set(volume) - {"name"} <= allowed
    for container in containers(spec):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert not {"privileged", "runAsUser", "procMount", "seccompProfile"} & context.keys()
        assert not any("hostPort" in port for port in container.get("ports", ()))


@every_overlay
def test_pods_get_no_token_and_no_variables_of_other_services(overlay: Path) -> None:
    found = resources(overlay)
    spec = pod(found)["spec"]
    assert one(found, "ServiceAccount")["automountServiceAccountToken"] is False
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == one(found, "ServiceAccount")["metadata"]["name"]
    assert spec["enableServiceLinks"] is False, "a Service named `resnet` would set RESNET_PORT"
    assert not of_kind(found, "RoleBinding") + of_kind(found, "ClusterRoleBinding")


@every_overlay
def test_no_replica_is_missing_during_an_update_and_one_at_most_during_a_drain(overlay: Path) -> None:
    found = resources(overlay)
    strategy = one(found, "Deployment")["spec"]["strategy"]
    assert strategy["type"] == "RollingUpdate"
    assert strategy["rollingUpdate"]["maxUnavailable"] == 0
    budget = one(found, "PodDisruptionBudget")["spec"]
    fewest = [
        *(each["spec"]["minReplicas"] for each in of_kind(found, "HorizontalPodAutoscaler")),
        *(each["spec"]["minReplicaCount"] for each in of_kind(found, "ScaledObject")),
        one(found, "Deployment")["spec"].get("replicas", 2),
    ]
    assert budget["maxUnavailable"] < min(fewest)
    keys = [each["topologyKey"] for each in pod(found)["spec"]["topologySpreadConstraints"]]
    assert keys == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]


@every_overlay
def test_the_arena_fits_in_its_memory(overlay: Path) -> None:
    found = resources(overlay)
    chosen, container = of(found), service(found)
    mounted = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    (volume,) = (each for each in pod(found)["spec"]["volumes"] if each["name"] == mounted[SHM])
    assert volume["emptyDir"]["medium"] == "Memory"
    lanes = 2  # of a GPU: service/engine/cuda.py
    layout = Layout(224, 1000, chosen.frontends, 1, chosen.queue_capacity + lanes * chosen.max_batch_size)
    room = amount(volume["emptyDir"]["sizeLimit"])
    assert layout.bytes * 1.2 < room
    assert room < amount(container["resources"]["limits"]["memory"]) / 2, "it counts as the container's memory"
    if chosen.frontends:
        text = (overlay / "deployment.yaml").read_text()
        assert f"{layout.bytes / 2**20:.0f} MiB" in text


def test_a_gpu_is_asked_for_and_needed() -> None:
    found = resources(DEPLOY / "overlays" / "gpu")
    asked = service(found)["resources"]
    assert asked["requests"]["nvidia.com/gpu"] == asked["limits"]["nvidia.com/gpu"] == "1"
    assert of(found).provider == "cuda"
    assert of(found).frontends == amount(asked["limits"]["cpu"])
    assert service(found)["image"].endswith("-gpu")


def test_images_are_named_alike_and_have_the_version_of_the_package(deployed: list[Resource]) -> None:
    known = {
        "resnet-serve": {VERSION, f"{VERSION}-gpu"},
        "resnet-export": {VERSION},
        "resnet-models": {"1"},
    }
    everywhere = [each for path in (*OVERLAYS, DEPLOY / "base") for each in containers(pod(resources(path))["spec"])]
    everywhere += containers(one(resources(DEPLOY / "kserve"), "ServingRuntime")["spec"])
    for container in [*containers(pod(deployed)["spec"]), *everywhere]:
        name, _, tag = container["image"].partition(":")
        assert tag in known[name], container["image"]


def test_the_images_are_those_that_the_dockerfiles_and_compose_build() -> None:
    built = re.findall(r"docker build -t (\S+)", (ROOT / "Dockerfile").read_text())
    assert {name.partition(":")[0] for name in built} == {"resnet-serve"}
    assert "docker build -t resnet-export" in (ROOT / "docker" / "export.Dockerfile").read_text()
    assert "image: ${IMAGE:-resnet-serve}" in (ROOT / "docker" / "compose.yaml").read_text()
    for name in ("Dockerfile", "docker/export.Dockerfile"):
        assert "USER 10001:10001" in (ROOT / name).read_text()
    assert "RESNET_ARTIFACTS=/models" in (ROOT / "Dockerfile").read_text()
    assert "TMPDIR=/dev/shm" in (ROOT / "Dockerfile").read_text()
