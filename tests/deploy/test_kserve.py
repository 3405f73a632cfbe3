"""KServe's two resources: they name each other, and the container is one that the service runs in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import yaml

from service.settings import Settings
from tests.deploy.manifests import DEPLOY, Resource, answers, one, resources, tool

GRACE_S = 30  # of a pod that says nothing else, which KServe's do not


def runtime() -> Resource:
    spec: Resource = one(resources(DEPLOY / "kserve"), "ServingRuntime")["spec"]
    return spec


def model() -> Resource:
    spec: Resource = one(resources(DEPLOY / "kserve"), "InferenceService", "resnet")["spec"]["predictor"]["model"]
    return spec


def chosen() -> Settings:
    (container,) = runtime()["containers"]
    given = {each["name"]: each["value"] for each in [*container["env"], *model()["env"]]}
    assert set(given) <= {f"RESNET_{field.upper()}" for field in Settings.model_fields}
    return Settings(**{name.removeprefix("RESNET_").lower(): value for name, value in given.items()})


def test_the_inference_service_asks_for_what_the_runtime_offers() -> None:
    assert model()["runtime"] == one(resources(DEPLOY / "kserve"), "ServingRuntime")["metadata"]["name"]
    formats = {(each["name"], each["version"]) for each in runtime()["supportedModelFormats"]}
    assert (model()["modelFormat"]["name"], model()["modelFormat"]["version"]) in formats
    assert model()["protocolVersion"] in runtime()["protocolVersions"]


def test_the_container_listens_and_ends_as_kserve_expects() -> None:
    (container,) = runtime()["containers"]
    assert container["name"] == "kserve-container"
    assert [port["containerPort"] for port in container["ports"]] == [chosen().port]
    assert chosen().management_port is None
    assert runtime()["annotations"]["prometheus.kserve.io/port"] == f"{chosen().port}"
    assert chosen().artifacts == Path("/mnt/models")
    assert chosen().shutdown_timeout_s < GRACE_S
    assert chosen().shutdown_timeout_s >= chosen().drain_delay_s + chosen().request_timeout_ms / 1000
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("readiness", "liveness")}
    assert {get["port"] for get in probes.values()} == {chosen().port}
    assert {name: get["path"] for name, get in probes.items()} == {
        "readiness": "/v2/health/ready",
        "liveness": "/v2/health/live",
    }
    for get in probes.values():
        assert answers(chosen(), get["path"])["http"]


def test_the_container_is_valid_and_restricted(tmp_path: Path) -> None:
    """As the container of a pod, of which Kubernetes has the schema."""
    made = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a"},
        "spec": {"containers": runtime()["containers"]},
    }
    (tmp_path / "pod.yaml").write_text(yaml.safe_dump(made))
    command = [tool("kubernetes-validate"), "--strict", str(tmp_path / "pod.yaml")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout
    assert run.stdout.startswith("INFO "), run.stdout
    (container,) = runtime()["containers"]
    assert container["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
