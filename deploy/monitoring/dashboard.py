"""Writes dashboard.json for Grafana: `python deploy/monitoring/dashboard.py`.

Five questions from the top down, in the order in which an operator asks them: is it up, is it fast, is it full, why
were requests refused, how well are batches filled.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_suffix(".json")
WIDTH, HEIGHT = 24, 8  # Grafana's grid; a panel's height
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RATE = "[$__rate_interval]"
CHOSEN = 'job=~"$job", instance=~"$instance"'
GREEN, YELLOW, RED = "green", "yellow", "red"

Panel = dict[str, Any]


def rate(metric: str, by: str = "", where: str = "") -> str:
    """Return the sum of a counter's rate over all that is chosen."""
    labels = f"{CHOSEN}, {where}" if where else CHOSEN
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{labels}}}{RATE}))"


def quantile(q: float, histogram: str) -> str:
    """Return a quantile of a histogram."""
    return f"histogram_quantile({q}, {rate(f'{histogram}_bucket', 'le')})"


def gauge(metric: str, by: str = "") -> str:
    """Return the sum of a gauge over all that is chosen."""
    return f"sum{f' by ({by})' if by else ''} ({metric}{{{CHOSEN}}})"


def ratio(above: str, below: str) -> str:
    """Return one expression over another."""
    return f"{above} / {below}"


def panel(kind: str, title: str, means: str, unit: str, targets: dict[str, str], **more: Any) -> Panel:
    """Return a panel.

    Args:
        kind: Of Grafana's.
        title: Above it.
        means: What it says, shown on hovering.
        unit: In Grafana's words.
        targets: Legend -> expression.
        more: Steps of colour (`steps`), a largest value (`top`), whether to stack (`stack`), its width (`width`).
    """
    return {
        "type": kind,
        "title": title,
        "description": means,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": _defaults(kind, unit, more), "overrides": []},
        "options": _options(kind, unit, more),
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": SOURCE,
                "expr": expression,
                "legendFormat": legend,
                "format": "heatmap" if kind == "heatmap" else "time_series",
            }
            for number, (legend, expression) in enumerate(targets.items())
        ],
        "width": more.get("width", 8),
        "height": more.get("height", HEIGHT),
    }


def _defaults(kind: str, unit: str, more: dict[str, Any]) -> dict[str, Any]:
    steps = [{"value": value, "color": colour} for value, colour in more.get("steps", [(None, GREEN)])]
    defaults: dict[str, Any] = {
        "unit": unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "thresholds" if kind == "stat" else "palette-classic"},
    }
    if "top" in more:
        defaults["max"] = more["top"]
    if kind == "timeseries":
        stack = more.get("stack", False)
        stacking = {"mode": "normal" if stack else "none"}
        defaults["custom"] = {"fillOpacity": 30 if stack else 8, "lineWidth": 1, "stacking": stacking}
    return defaults


def _options(kind: str, unit: str, more: dict[str, Any]) -> dict[str, Any]:
    if kind == "stat":
        calculation = {"calcs": ["lastNotNull"]}
        return {"reduceOptions": calculation, "colorMode": "background", "textMode": more.get("text", "auto")}
    if kind == "heatmap":
        return {"calculate": False, "yAxis": {"unit": unit}, "color": {"mode": "scheme", "scheme": "Blues"}}
    return {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list", "placement": "bottom"}}


def questions() -> dict[str, list[Panel]]:
    """Return the panels under each question."""
    requests = "resnet_request_duration_seconds"
    outcomes = rate("resnet_requests_total", "outcome", 'outcome!="answered"')
    return {
        "Is it up?": [
            panel(
                "stat",
                "Ready",
                "Processes that would answer a request now.",
                "short",
                {"ready": gauge("resnet_ready")},
                steps=[(None, RED), (1, GREEN)],
                width=3,
                height=5,
            ),
            panel(
                "stat",
                "Of",
                "Processes that Prometheus knows of.",
                "short",
                {"known": f"count (up{{{CHOSEN}}})"},
                width=3,
                height=5,
            ),
            panel(
                "stat",
                "Answered",
                "Of all requests, those not failed by the service: without 500, 503 and 504.",
                "percentunit",
                {
                    "answered": "1 - "
                    + ratio(
                        rate("resnet_requests_total", where='outcome=~"failed|unavailable|expired"'),
                        rate("resnet_requests_total"),
                    )
                },
                steps=[(None, RED), (0.99, YELLOW), (0.999, GREEN)],
                top=1,
                width=4,
                height=5,
            ),
            panel(
                "stat",
                "Deaths",
                "Processes that died and were replaced, in the time shown.",
                "short",
                {"{{process}}": f"sum by (process) (increase(resnet_process_restarts_total{{{CHOSEN}}}[$__range]))"},
                steps=[(None, GREEN), (1, YELLOW), (3, RED)],
                width=5,
                height=5,
            ),
            panel(
                "stat",
                "Models",
                "What answers.",
                "short",
                {
                    "{{model}}:{{version}} {{precision}} on {{provider}}": gauge(
                        "resnet_model_info", "model, version, precision, provider"
                    )
                },
                text="name",
                width=9,
                height=5,
            ),
        ],
        "Is it fast?": [
            panel(
                "timeseries",
                "Time to an answer",
                "All requests, whatever their outcome.",
                "s",
                {"median": quantile(0.5, requests), "95 %": quantile(0.95, requests), "99 %": quantile(0.99, requests)},
            ),
            panel(
                "timeseries",
                "Where the time goes (99 %)",
                "Of requests that were answered; a run's time is a batch's.",
                "s",
                {
                    stage: quantile(0.99, f"resnet_{stage}_duration_seconds")
                    for stage in ("decode", "queue", "inference")
                },
            ),
            panel(
                "timeseries",
                "Images a second",
                "Images classified, by model.",
                "short",
                {"{{model}}:{{version}}": rate("resnet_predictions_total", "model, version")},
                stack=True,
            ),
        ],
        "Is it full?": [
            panel(
                "timeseries",
                "Queue",
                "Images that hold a place in line, and the places there are.",
                "short",
                {"in line": gauge("resnet_queue_depth_images"), "places": gauge("resnet_queue_capacity_images")},
            ),
            panel(
                "timeseries",
                "Engines busy",
                "Of the runs that could go on at once, the share that did.",
                "percentunit",
                {"busy": ratio(rate("resnet_inference_duration_seconds_sum"), gauge("resnet_engine_lanes"))},
                top=1,
            ),
            panel(
                "timeseries",
                "In flight",
                "Requests being answered, and slots of the shared memory in use.",
                "short",
                {
                    "requests": gauge("resnet_requests_in_flight"),
                    "slots in use": f'sum (resnet_slots{{{CHOSEN}, state="used"}})',
                },
            ),
        ],
        "Why were requests refused?": [
            panel(
                "timeseries",
                "Not answered, by reason",
                "docs/metrics.md says which status each is.",
                "reqps",
                {"{{outcome}}": outcomes},
                stack=True,
                width=6,
            ),
            panel(
                "timeseries",
                "Disconnected, by reason",
                "Clients told 400, 408, 431 or 503 by the protocol, in the middle of a request or before it.",
                "short",
                {"{{reason}}": rate("resnet_turned_away_total", "reason")},
                stack=True,
                width=6,
            ),
            panel(
                "timeseries",
                "Images refused",
                "Also among others in a request that was answered.",
                "short",
                {"{{reason}}": rate("resnet_refused_images_total", "reason")},
                stack=True,
                width=6,
            ),
            panel(
                "timeseries",
                "Dead work dropped",
                "Images whose caller hung up or ran out of time before the engine "
                "took them, and the engine's time that this saves (seconds a second).",
                "short",
                {
                    "{{reason}}": rate("resnet_dropped_images_total", "reason"),
                    "seconds saved": rate("resnet_saved_compute_seconds_total"),
                },
                width=6,
            ),
        ],
        "How well are batches filled?": [
            panel(
                "timeseries",
                "Images in a batch",
                "On average, and at most.",
                "short",
                {
                    "mean": ratio(rate("resnet_batch_images_sum"), rate("resnet_batch_images_count")),
                    "at most": f"max (resnet_max_batch_images{{{CHOSEN}}})",
                },
                width=6,
            ),
            panel(
                "heatmap",
                "Batch sizes",
                "Runs a second, by how many images were in them.",
                "short",
                {"{{le}}": rate("resnet_batch_images_bucket", "le")},
                width=6,
            ),
            panel(
                "timeseries",
                "Engine's time for an image",
                "A run's time shared among its images.",
                "s",
                {"an image": ratio(rate("resnet_inference_duration_seconds_sum"), rate("resnet_batch_images_sum"))},
                width=6,
            ),
            panel(
                "timeseries",
                "Answers kept",
                "Images a second looked up where answers are kept (cache_entries): only a miss comes to a batch.",
                "short",
                {"{{outcome}}": rate("resnet_cache_images_total", "outcome")},
                stack=True,
                width=6,
            ),
        ],
    }


def laid_out() -> list[Panel]:
    """Return all panels with their places: a row for each question."""
    panels: list[Panel] = []
    top = 0
    for question, members in questions().items():
        panels.append(
            {
                "type": "row",
                "title": question,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": top, "w": WIDTH, "h": 1},
            }
        )
        left = 0
        for member in members:
            width, height = member.pop("width"), member.pop("height")
            panels.append(member | {"gridPos": {"x": left, "y": top + 1, "w": width, "h": height}})
            left += width
        top += 1 + panels[-1]["gridPos"]["h"]
    return [one | {"id": number} for number, one in enumerate(panels, 1)]


def variable(name: str, label: str) -> dict[str, Any]:
    """Return a choice among the values of a label."""
    where = '{job=~"$job"}' if name == "instance" else ""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": f"label_values(resnet_ready{where}, {name})",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard() -> dict[str, Any]:
    """Return the whole dashboard."""
    source = {"name": "datasource", "label": "Source", "type": "datasource", "query": "prometheus"}
    return {
        "uid": "resnet-serve",
        "title": "resnet-serve",
        "tags": ["resnet-serve"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [source, variable("job", "Job"), variable("instance", "Instance")]},
        "panels": laid_out(),
    }


def text() -> str:
    """Return the file's contents."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text())
