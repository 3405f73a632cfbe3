"""What is counted and read: every metric of the service, by name. docs/metrics.md is written from this."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]

# From half a millisecond, what a small image takes to decode, to the default deadline, each about twice the last.
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
IMAGES = tuple(float(1 << power) for power in range(11))

INFER = "/v2/models/{name}/infer"  # of any model, in any version
ENDPOINTS = ("/classify", "/classify/batch", INFER)
ANSWERED, CANCELLED, SLOW = "answered", "cancelled", "slow"
# Besides these three, the `reason` of each class in `service.errors`.
OUTCOMES = (
    ANSWERED,
    CANCELLED,
    SLOW,
    "rejected",
    "expired",
    "unavailable",
    "undecodable",
    "too_large",
    "malformed",
    "invalid",
    "unauthorized",
    "not_found",
    "failed",
)
# What a client is told by the HTTP protocol, whatever it wanted to ask, by status.
REFUSALS = {400: "malformed", 408: SLOW, 431: "too_large", 503: "unavailable"}
MODELS = 16  # that are told apart at the same time; those of any further one are counted as "other"


class Family(NamedTuple):
    """One metric.

    Attributes:
        name: In Prometheus's conventions: a unit in the name, `_total` for counters.
        kind: What it is.
        help: What it says, in one sentence.
        labels: Names of its labels.
        series: The values of its labels that there are; ((),) without labels, () if known only at run time.
        bounds: Upper bounds of a histogram's buckets, without infinity.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    series: tuple[tuple[str, ...], ...] = ((),)
    bounds: tuple[float, ...] = ()

    @property
    def cells(self) -> int:
        """Cells of one series: a histogram has one a bucket, one for infinity, and the sum."""
        return len(self.bounds) + 2 if self.bounds else 1


def _each(*values: str) -> tuple[tuple[str, ...], ...]:
    return tuple((value,) for value in values)


REQUESTS = Family(
    "resnet_requests_total",
    "counter",
    "Requests that have ended, by how.",
    ("endpoint", "outcome"),
    tuple((endpoint, outcome) for endpoint in ENDPOINTS for outcome in OUTCOMES),
)
REQUEST_SECONDS = Family(
    "resnet_request_duration_seconds",
    "histogram",
    "From a request's head to its answer, whatever the outcome.",
    ("endpoint",),
    _each(*ENDPOINTS),
    SECONDS,
)
TURNED_AWAY = Family(
    "resnet_turned_away_total",
    "counter",
    "Clients disconnected in the middle of a request, or before it: too slow (408), not HTTP (malformed, 400), too "
    "much beside the body (too_large, 431), or everybody else was being answered (unavailable, 503).",
    ("reason",),
    _each(*REFUSALS.values()),
)
IN_FLIGHT = Family("resnet_requests_in_flight", "gauge", "Requests that are being answered now.")
DECODE_SECONDS = Family(
    "resnet_decode_duration_seconds",
    "histogram",
    "From a request's bytes to its pixels, all its images together, with the wait for a thread.",
    bounds=SECONDS,
)
QUEUE_SECONDS = Family(
    "resnet_queue_duration_seconds",
    "histogram",
    "How long a request's pixels waited for the engine.",
    bounds=SECONDS,
)
INFERENCE_SECONDS = Family(
    "resnet_inference_duration_seconds", "histogram", "Duration of one run of the engine, one batch.", bounds=SECONDS
)
BATCH_IMAGES = Family("resnet_batch_images", "histogram", "Images in one run of the engine.", bounds=IMAGES)
PREDICTIONS = Family(
    "resnet_predictions_total", "counter", "Images classified, by model.", ("model", "version"), series=()
)
REFUSED = Family(
    "resnet_refused_images_total",
    "counter",
    "Images that did not come to pixels, also where the others of their request did.",
    ("reason",),
    _each("undecodable", "too_large", "failed"),
)
DROPPED = Family(
    "resnet_dropped_images_total",
    "counter",
    "Images that held a place in line and never reached the engine: nobody waited for them any more.",
    ("reason",),
    _each("cancelled", "expired"),
)
CACHE = Family(
    "resnet_cache_images_total",
    "counter",
    "Images looked up in the answers that are kept (cache_entries): known, being computed for another, or neither.",
    ("outcome",),
    _each("hit", "shared", "miss"),
)
SAVED_SECONDS = Family(
    "resnet_saved_compute_seconds_total",
    "counter",
    "What dropped images would have cost the engine, each as much as an image did on average.",
)
RESTARTS = Family(
    "resnet_process_restarts_total",
    "counter",
    "Processes that died and were replaced.",
    ("process",),
    _each("frontend", "engine"),
)
LANES = Family(
    "resnet_engine_lanes",
    "gauge",
    "Runs that the engines can do at the same time; models on the same cores share theirs.",
)

# Counted in the ledger, and added up over all processes.
COUNTED = (
    REQUESTS,
    REQUEST_SECONDS,
    TURNED_AWAY,
    IN_FLIGHT,
    DECODE_SECONDS,
    QUEUE_SECONDS,
    INFERENCE_SECONDS,
    BATCH_IMAGES,
    REFUSED,
    DROPPED,
    CACHE,
    SAVED_SECONDS,
    RESTARTS,
    LANES,
)

READY = Family("resnet_ready", "gauge", "1 if a request would be answered now, else 0.")
MODEL = Family(
    "resnet_model_info",
    "gauge",
    "The model that answers: always 1, with what it is in the labels.",
    ("model", "version", "precision", "weights", "provider"),
)
DEPTH = Family(
    "resnet_queue_depth_images", "gauge", "Images that hold a place in line: waiting, or being decoded in order to."
)
CAPACITY = Family(
    "resnet_queue_capacity_images", "gauge", "Places in line that there are: queue_capacity for each model."
)
LARGEST_BATCH = Family("resnet_max_batch_images", "gauge", "Images in one run at most (max_batch_size).")
SLOTS = Family(
    "resnet_slots", "gauge", "Slots for one image each in the shared memory, with --frontends only.", ("state",)
)

# Read off the service when Prometheus asks.
READ = (READY, MODEL, DEPTH, CAPACITY, LARGEST_BATCH, SLOTS)
FAMILIES = (*COUNTED, PREDICTIONS, *READ)


def _offsets() -> tuple[dict[tuple[str, tuple[str, ...]], int], int]:
    """Return where in a row each series begins, by family and labels, and how many cells a row has."""
    offsets, at = {}, 0
    for family in COUNTED:
        for labels in family.series:
            offsets[family.name, labels] = at
            at += family.cells
    return offsets, at


OFFSETS, CELLS = _offsets()  # after these, in each row: what each model did, see `service.statistics`
