"""Writes ../components/monitoring/prometheusrule.yaml from rules.yaml: `python deploy/monitoring/prometheusrule.py`.

Prometheus reads rules.yaml itself; its operator wants the same groups inside a resource, where kustomize cannot
put them.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parent
_RULES = _HERE / "rules.yaml"
_RESOURCE = _HERE.parent / "components" / "monitoring" / "prometheusrule.yaml"
_HEAD = """\
# Written from deploy/monitoring/rules.yaml by prometheusrule.py beside it: change that one.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: resnet-serve
  namespace: resnet-serve
spec:
"""


def text() -> str:
    """Return the resource."""
    lines = _RULES.read_text().splitlines()
    rules = lines[lines.index("groups:") :]
    return _HEAD + "".join(f"  {line}".rstrip() + "\n" for line in rules)


if __name__ == "__main__":
    _RESOURCE.write_text(text())
