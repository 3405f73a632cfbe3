"""Kubernetes' horizontal autoscaler, and how deploy/ has it set: by the CPU itself, by the queue through KEDA.

The algorithm is that of Kubernetes' documentation of HorizontalPodAutoscaler: a wish for each metric, of which the
largest counts; nothing within a tenth of the target; wishes stabilised over a window; steps limited by policies.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

_DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
HPA = _DEPLOY / "base" / "horizontalpodautoscaler.yaml"
KEDA = _DEPLOY / "components" / "keda" / "scaledobject.yaml"
_TOLERANCE = 0.1  # Kubernetes' default
CPU, IN_FLIGHT, QUEUE_WAIT = "cpu", "in-flight", "queue-wait"


@dataclass(frozen=True)
class Target:
    """What one metric should be.

    Attributes:
        metric: `CPU` (share of what is requested), `IN_FLIGHT` (images), or `QUEUE_WAIT` (seconds).
        value: The target.
        each: Whether it is for each replica, of a sum over all.
    """

    metric: str
    value: float
    each: bool = False

    def wish(self, current: int, measured: float) -> int:
        """Return how many replicas this metric wants."""
        ratio = measured / (self.value * current) if self.each else measured / self.value
        return current if abs(ratio - 1) <= _TOLERANCE else math.ceil(current * ratio)


@dataclass(frozen=True)
class Rules:
    """One direction of a `behavior`: the window of its stabilisation, and its policies: (type, value, period)."""

    window_s: int
    policies: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Scaler:
    """What a manifest says."""

    fewest: int
    most: int
    targets: tuple[Target, ...]
    up: Rules
    down: Rules

    def target(self, metric: str) -> float:
        """Return what a metric should be."""
        return next(each.value for each in self.targets if each.metric == metric)

    def aiming_at(self, **values: float) -> Scaler:
        """Return the same with other targets, by metric, `_` for `-`."""
        changed = (replace(each, value=values.get(each.metric.replace("-", "_"), each.value)) for each in self.targets)
        return replace(self, targets=tuple(changed))


@dataclass
class Memory:
    """What the autoscaler remembers of one Deployment."""

    wishes: list[tuple[float, int]] = field(default_factory=list)
    steps: list[tuple[float, int]] = field(default_factory=list)


def decide(scaler: Scaler, memory: Memory, now_s: float, current: int, measured: Mapping[str, float]) -> int:
    """Return how many replicas there should be.

    Args:
        scaler: What it is told.
        memory: What it remembers; changed.
        now_s: Now.
        current: How many there are, ready or not.
        measured: Each metric.
    """
    wish = max(target.wish(current, measured[target.metric]) for target in scaler.targets)
    wish = min(max(wish, scaler.fewest), scaler.most)
    memory.wishes = [each for each in memory.wishes if each[0] > now_s - 3600] + [(now_s, wish)]
    lowest = min(value for at_s, value in memory.wishes if at_s >= now_s - scaler.up.window_s)
    highest = max(value for at_s, value in memory.wishes if at_s >= now_s - scaler.down.window_s)
    wish = max(lowest, current) if lowest > current else min(highest, current)
    if wish > current:
        wish = min(wish, max(_reach(policy, memory, now_s, current, 1) for policy in scaler.up.policies))
    elif wish < current:
        wish = max(wish, min(_reach(policy, memory, now_s, current, -1) for policy in scaler.down.policies))
    if wish != current:
        memory.steps = [each for each in memory.steps if each[0] > now_s - 3600] + [(now_s, wish - current)]
    return wish


def _reach(policy: tuple[str, int, int], memory: Memory, now_s: float, current: int, sign: int) -> int:
    """Return how far a policy lets the number go in one direction, from what it was when its period began."""
    kind, value, period_s = policy
    recent = sum(step for at_s, step in memory.steps if at_s > now_s - period_s and step * sign > 0)
    start = current - recent
    if kind == "Pods":
        return start + sign * value
    return math.ceil(start * (1 + value / 100)) if sign > 0 else math.floor(start * (1 - value / 100))


def read_hpa(path: Path = HPA) -> Scaler:
    """Return what a HorizontalPodAutoscaler says that scales by the CPU."""
    spec = yaml.safe_load(path.read_text())["spec"]
    (metric,) = spec["metrics"]
    share = metric["resource"]["target"]["averageUtilization"] / 100
    return _scaler(spec["minReplicas"], spec["maxReplicas"], [Target(CPU, share)], spec["behavior"])


def read_keda(path: Path = KEDA) -> Scaler:
    """Return what a ScaledObject says whose triggers are named after our metrics."""
    spec = yaml.safe_load(path.read_text())["spec"]
    targets = [
        Target(each["name"], float(each["metadata"]["threshold"]), each["metricType"] == "AverageValue")
        for each in spec["triggers"]
    ]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    return _scaler(spec["minReplicaCount"], spec["maxReplicaCount"], targets, behavior)


def _scaler(fewest: int, most: int, targets: Sequence[Target], behavior: Mapping[str, Any]) -> Scaler:
    return Scaler(fewest, most, tuple(targets), _rules(behavior["scaleUp"]), _rules(behavior["scaleDown"]))


def _rules(given: Mapping[str, Any]) -> Rules:
    policies = tuple((each["type"], each["value"], each["periodSeconds"]) for each in given["policies"])
    return Rules(given["stabilizationWindowSeconds"], policies)
