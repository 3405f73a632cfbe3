"""Every overlay and component renders, and Kubernetes' own schemas know every field."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.deploy.manifests import (
    COMPONENTS,
    DEPLOY,
    FOREIGN,
    OVERLAYS,
    compose,
    of_kind,
    one,
    pod,
    render,
    resources,
    tool,
)

KUBERNETES = "1.37"  # whose schemas: the newest that the tool knows
MODELS = tuple(path for path in COMPONENTS if path.name.startswith("models-"))


def validate(folder: Path, tmp_path: Path) -> None:
    """Hold each resource of a kind that Kubernetes has itself to its schema; a warning, too, is a failure."""
    own = [each for each in resources(folder) if each["kind"] not in FOREIGN]
    (tmp_path / "own.yaml").write_text(yaml.safe_dump_all(own))
    command = [tool("kubernetes-validate"), "--strict", "--kubernetes-version", KUBERNETES, str(tmp_path / "own.yaml")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, ""), run.stdout + run.stderr
    assert len(run.stdout.splitlines()) == len(own)
    for line in run.stdout.splitlines():
        assert line.startswith("INFO "), line


def test_there_are_the_overlays_that_are_promised() -> None:
    assert {path.name for path in OVERLAYS} >= {"cpu", "gpu", "keda", "monitoring"}
    assert {path.name for path in MODELS} == {"models-pvc", "models-copy", "models-export"}


@pytest.mark.parametrize("folder", [DEPLOY / "base", *OVERLAYS], ids=lambda path: path.name)
def test_an_overlay_is_valid(folder: Path, tmp_path: Path) -> None:
    validate(folder, tmp_path)


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda path: path.name)
def test_a_component_is_valid(component: Path, tmp_path: Path) -> None:
    validate(compose(tmp_path, DEPLOY / "overlays" / "cpu", [component]), tmp_path)


def test_components_go_with_one_another_and_on_a_gpu(tmp_path: Path) -> None:
    chosen = [path for path in COMPONENTS if path not in MODELS] + [DEPLOY / "components" / "models-copy"]
    validate(compose(tmp_path, DEPLOY / "overlays" / "gpu", chosen), tmp_path)


def test_the_validator_would_notice(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("resources: [service.yaml]\n")
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, portName: http}]}\n"
    (tmp_path / "service.yaml").write_text(text)
    with pytest.raises(AssertionError, match="portName"):
        validate(tmp_path, tmp_path)


def test_the_kinds_of_operators_are_used_in_the_versions_they_have() -> None:
    versions = {
        each["kind"]: each["apiVersion"]
        for folder in (*OVERLAYS, DEPLOY / "kserve")
        for each in resources(folder)
        if each["kind"] in FOREIGN
    }
    assert versions == {
        "ScaledObject": "keda.sh/v1alpha1",
        "ServiceMonitor": "monitoring.coreos.com/v1",
        "PrometheusRule": "monitoring.coreos.com/v1",
        "ServingRuntime": "serving.kserve.io/v1alpha1",
        "InferenceService": "serving.kserve.io/v1beta1",
    }


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.name)
def test_all_is_in_one_namespace_and_only_one_thing_sets_the_replicas(overlay: Path) -> None:
    found = resources(overlay)
    assert {each["metadata"].get("namespace") for each in found if each["kind"] != "Namespace"} == {"resnet-serve"}
    assert one(found, "Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    scalers = len(of_kind(found, "HorizontalPodAutoscaler")) + len(of_kind(found, "ScaledObject"))
    fixed = one(found, "Deployment")["spec"].get("replicas") is not None
    assert scalers + fixed == 1


def test_the_keda_component_on_a_gpu_leaves_the_replicas_to_keda(tmp_path: Path) -> None:
    found = resources(compose(tmp_path, DEPLOY / "overlays" / "gpu", [DEPLOY / "components" / "keda"]))
    assert not of_kind(found, "HorizontalPodAutoscaler")
    assert one(found, "Deployment")["spec"].get("replicas") is None


@pytest.mark.parametrize("component", MODELS, ids=lambda path: path.name)
def test_a_delivered_model_is_mounted_read_only_where_the_service_looks(component: Path, tmp_path: Path) -> None:
    spec = pod(resources(compose(tmp_path, DEPLOY / "overlays" / "cpu", [component])))["spec"]
    (container,) = spec["containers"]
    mount = next(each for each in container["volumeMounts"] if each["mountPath"] == "/models")
    assert mount["readOnly"] is True
    volumes = {each["name"]: each for each in spec["volumes"]}
    if component.name == "models-pvc":
        claim = volumes[mount["name"]]["persistentVolumeClaim"]["claimName"]
        assert f"name: {claim}" in render(tmp_path)
        return
    (filler,) = spec["initContainers"]
    filled = next(each["mountPath"] for each in filler["volumeMounts"] if each["name"] == mount["name"])
    assert any(filled in argument for argument in [*filler.get("command", ()), *filler.get("args", ())])
