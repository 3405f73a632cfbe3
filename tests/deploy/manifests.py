"""What kustomize makes of deploy/, and ways to its parts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any

import httpx
import yaml
from fastapi import FastAPI

from service.app import create_app
from service.settings import Settings
from tests.conftest import ROOT

Resource = dict[str, Any]

DEPLOY = ROOT / "deploy"
OVERLAYS = tuple(sorted(path.parent for path in DEPLOY.glob("overlays/*/kustomization.yaml")))
COMPONENTS = tuple(sorted(path.parent for path in DEPLOY.glob("components/*/kustomization.yaml")))
# Kinds that come with operators, whose schemas Kubernetes does not have.
FOREIGN = {"ScaledObject", "ServiceMonitor", "PrometheusRule", "ServingRuntime", "InferenceService"}


def tool(name: str) -> str:
    """Return a command of this environment's, or else of the machine's."""
    found = which(name, path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    assert found is not None, f"no {name}: requirements/dev.lock has it"
    return found


@cache
def render(folder: Path) -> str:
    """Return what `kubectl kustomize` writes of a folder."""
    run = subprocess.run([tool("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert run.stderr == "", "a warning, such as of a deprecated field"
    return run.stdout


def resources(folder: Path) -> list[Resource]:
    """Return the resources of a folder."""
    return list(yaml.safe_load_all(render(folder)))


def compose(folder: Path, base: Path, components: Sequence[Path]) -> Path:
    """Write into `folder` an overlay of `base` with `components`, as a user would; return it."""
    made = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [os.path.relpath(base, folder)],
        "components": [os.path.relpath(component, folder) for component in components],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(made))
    return folder


def one(found: Sequence[Resource], kind: str, name: str = "resnet-serve") -> Resource:
    """Return the only resource of a kind and name; a generated name may end in a hash."""
    named = [each for each in found if each["kind"] == kind and each["metadata"]["name"].startswith(name)]
    assert len(named) == 1, f"{len(named)} of {kind} {name}"
    return named[0]


def of_kind(found: Sequence[Resource], kind: str) -> list[Resource]:
    """Return all resources of a kind."""
    return [each for each in found if each["kind"] == kind]


def pod(found: Sequence[Resource]) -> Resource:
    """Return the Deployment's pod: its `metadata` and `spec`."""
    template: Resource = one(found, "Deployment")["spec"]["template"]
    return template


def containers(spec: Resource) -> Iterator[Resource]:
    """Yield every container of a pod, initial ones first."""
    yield from spec.get("initContainers", ())
    yield from spec["containers"]


def service(found: Sequence[Resource]) -> Resource:
    """Return the container that serves."""
    (container,) = (each for each in pod(found)["spec"]["containers"] if each["name"] == "resnet-serve")
    return container


def settings(found: Sequence[Resource]) -> dict[str, str]:
    """Return the environment of the container that serves, from its ConfigMap."""
    (source,) = service(found)["envFrom"]
    data: dict[str, str] = one(found, "ConfigMap", source["configMapRef"]["name"])["data"]
    return data


def amount(quantity: str | int) -> float:
    """Return a quantity of Kubernetes' as a number: cores, bytes or pieces."""
    text = str(quantity)
    for suffix, factor in (("Ki", 2**10), ("Mi", 2**20), ("Gi", 2**30), ("m", 1e-3)):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)


def answers(settings: Settings, path: str) -> dict[str, bool]:
    """Return whether the service's port and the management's answer a path at all."""
    app = create_app(settings)
    apps = {"http": app, "management": app.state.management}
    return {name: asyncio.run(status(each, path)) != 404 for name, each in apps.items()}


async def status(app: FastAPI, path: str) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a") as client:
        return (await client.get(path)).status_code
