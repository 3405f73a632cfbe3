"""Rules and dashboard: Prometheus's own tool plays the alerts, and nothing is asked for that there is not."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from shutil import which
from types import ModuleType
from typing import Any

import pytest
import yaml

from service.families import FAMILIES, Family
from tests.conftest import ROOT, missing

MONITORING = ROOT / "deploy" / "monitoring"
KNOWN = {family.name: family for family in FAMILIES}
# A metric and its selector, as in `rate(resnet_requests_total{job=~"$job"}[5m])`.
_METRIC = re.compile(r"(?<![\w:])(resnet_\w+)(?:\{([^}]*)\})?")
_OUTCOMES = re.compile(r'outcome(=~|!=|=)"([^"]*)"')


@pytest.fixture(scope="module")
def promtool() -> str:
    found = which("promtool")
    if found is None:
        missing("no promtool: Debian has it in `prometheus`")
    assert found is not None
    return found


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, MONITORING / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def board() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
    return found


def expressions() -> list[str]:
    """Return every expression of the dashboard."""
    return [target["expr"] for panel in board()["panels"] for target in panel.get("targets", ())]


def triggers() -> list[str]:
    """Return what KEDA asks Prometheus."""
    scaled = yaml.safe_load((ROOT / "deploy" / "components" / "keda" / "scaledobject.yaml").read_text())
    found = [trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"]]
    assert len(found) == 2
    return found


def rules() -> str:
    lines = (MONITORING / "rules.yaml").read_text().splitlines()
    return "\n".join(line for line in lines if not re.match(r"\s*(#|summary:|description:|- alert:)", line))


def family_of(name: str) -> Family | None:
    """Return the metric that a sample belongs to."""
    for suffix in ("_bucket", "_sum", "_count"):
        if (known := KNOWN.get(name.removesuffix(suffix))) is not None and known.bounds and name.endswith(suffix):
            return known
    known = KNOWN.get(name)
    return known if known is not None and not known.bounds else None


@pytest.mark.parametrize("arguments", [("check", "rules", "rules.yaml"), ("test", "rules", "rules.test.yaml")])
def test_promtool_agrees(promtool: str, arguments: tuple[str, ...]) -> None:
    run = subprocess.run([promtool, *arguments], cwd=MONITORING, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_alert_is_played() -> None:
    alerts = set(re.findall(r"- alert: (\w+)", (MONITORING / "rules.yaml").read_text()))
    played = (MONITORING / "rules.test.yaml").read_text()
    raised = set(re.findall(r"alertname: (\w+)\n\s+eval_time: \S+\n\s+exp_alerts:", played))
    quiet = set(re.findall(r"\{alertname: (\w+), eval_time", played))
    documented = set(re.findall(r"^\| `(Resnet\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    assert alerts == raised == quiet == documented


def test_rules_dashboard_and_autoscaler_ask_only_for_metrics_that_there_are() -> None:
    asked = {name for text in [*expressions(), *triggers(), rules()] for name, _ in _METRIC.findall(text)}
    assert len(asked) > 15, "nothing was found to check"
    assert {name for name in asked if family_of(name) is None} == set()


def test_the_dashboard_shows_every_metric() -> None:
    """What is counted is looked at, or need not be counted."""
    text = "\n".join(expressions())
    shown = {family.name for name, _ in _METRIC.findall(text) if (family := family_of(name)) is not None}
    assert shown == KNOWN.keys()


def test_labels_and_outcomes_that_are_asked_for_exist() -> None:
    outcomes = {labels[1] for labels in KNOWN["resnet_requests_total"].series}
    of_targets = {"job", "instance", "le"}
    for text in [*expressions(), *triggers(), rules()]:
        for _, wanted in _OUTCOMES.findall(text):
            assert set(wanted.split("|")) <= outcomes
        for name, selector in _METRIC.findall(text):
            family = family_of(name)
            assert family is not None
            assert set(re.findall(r"(\w+)(?:=~|!=|=)", selector)) <= {*family.labels, *of_targets}, name


def test_every_expression_is_promql(promtool: str, tmp_path: Path) -> None:
    """As a recording rule, with what Grafana would put in for its variables."""
    filled = [text.replace("$__rate_interval", "1m").replace("$__range", "30m") for text in expressions()]
    filled += triggers()
    records = [{"record": f"asked:{number}", "expr": text} for number, text in enumerate(filled)]
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps({"groups": [{"name": "asked", "rules": records}]}))  # JSON is YAML
    run = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_dashboard_is_what_its_script_writes() -> None:
    written = (MONITORING / "dashboard.json").read_text()
    assert written == script("dashboard").text(), "run: .venv/bin/python deploy/monitoring/dashboard.py"


def test_the_operator_is_given_the_same_rules() -> None:
    path = ROOT / "deploy" / "components" / "monitoring" / "prometheusrule.yaml"
    assert path.read_text() == script("prometheusrule").text(), (
        "run: .venv/bin/python deploy/monitoring/prometheusrule.py"
    )
    assert yaml.safe_load(path.read_text())["spec"] == yaml.safe_load((MONITORING / "rules.yaml").read_text())


def test_panels_have_places_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board()["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells
