"""The service on a card: `python -m benchmarks.gpu` checks, times, prints a table and writes JSON, in eight minutes.

    pip install '.[gpu,export]'
    python -m benchmarks.gpu [--shared DIR] [--output DIR]
    python -m benchmarks.gpu --dry-run            where there is no card: everything small, on the CPU

It needs no network and no load generator but its own. What a machine lacks is said, and the rest is measured: PyTorch's
own best where torch sees the card; the service where its dependencies are installed; how busy the card is where
nvidia-ml-py or nvidia-smi can say. benchmarks/card/ has the parts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))  # also as `python benchmarks/gpu.py`, and whatever PYTHONPATH says

# Asked for first: a machine with a card but without these is told so in one line.
_NEEDED = (
    *("fastapi", "fastapi_offline", "httptools", "numpy", "onnx", "onnxruntime", "onnxscript", "PIL"),
    *("prometheus_client", "pydantic_settings", "multipart", "simplejpeg", "tqdm", "uvicorn", "uvloop", "zmq"),
)
_VERSIONS = ("onnxruntime-gpu", "onnxruntime", "torch", "nvidia-cudnn-cu13", "cuda-bindings", "numpy")
_PRECISIONS = ("fp16", "fp32")
_ALONE_SHARE = 0.4  # of the time; most of the rest is for the service
_TORCH_S = 90.0
_VARIANT_S = 10.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; return 0 if all that ran answered rightly, else 1, or 2 where it cannot run at all."""
    parsed = _parser().parse_args(arguments)
    if lacking := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        _say(f"these are needed and not installed (pip install '.[gpu,export]'): {', '.join(lacking)}")
        return 2
    _compile_native()
    if not parsed.dry_run and (reason := _no_card()):
        _say(f"no card can be used here: {reason}; --dry-run goes through everything on the CPU")
        return 2
    from benchmarks.card import plan, results

    measured = _measure(plan.DRY if parsed.dry_run else plan.FULL, parsed)
    page = results.to_markdown(measured)
    parsed.output.mkdir(parents=True, exist_ok=True)
    (parsed.output / "gpu.json").write_text(json.dumps(results.to_json(measured), indent=1) + "\n")
    (parsed.output / "gpu.md").write_text(page)
    print(page)
    return 0 if measured.healthy else 1


def _measure(plan: Any, parsed: argparse.Namespace) -> Any:
    from benchmarks import subjects
    from benchmarks.card import bodies, pytorch, service
    from benchmarks.card.plan import Budget
    from benchmarks.card.results import Results
    from service.engine.interface import contract_of
    from service.engine.sessions import cpu_session

    budget, found = Budget(plan.budget_s), Results(about=_about(plan))
    parsed.scratch.mkdir(parents=True, exist_ok=True)
    served = [_subject(precision, plan, parsed) for precision in (_PRECISIONS if plan.device == "cuda" else ("fp32",))]
    _measure_alone(served, plan, budget.part(_ALONE_SHARE), found)
    batch = found.bound.batch if found.bound else max(plan.batches)
    _say(f"PyTorch, batches of {batch}")
    found.pytorch = pytorch.measure(plan, batch, min(_TORCH_S, budget.left_s / 3))
    files = subjects.photos(parsed.shared, parsed.scratch)
    contract = contract_of(cpu_session(served[0].artefact))
    found.bare_decoding_per_s = service.bare_decoding(files, contract.preprocessing, plan.cell_s)
    loads = [
        bodies.tensors(files[:64], contract, served[0].model, parsed.scratch / "tensors"),
        *(bodies.photos(files, decoder) for decoder in plan.decoders),
    ]
    found.cells = list(service.measure(served[0], loads, batch, plan, budget, _say))
    found.left_out = budget.left_out
    return found


def _measure_alone(served: Sequence[Any], plan: Any, budget: Any, found: Any) -> None:
    """Measure the engine alone: what is served at every batch size, what is compared with it at the best of these."""
    from benchmarks.card import model

    for subject in served:
        for variant in model.VARIANTS if plan.device == "cuda" else model.SERVED[:1]:
            all_sizes = found.bound is None or (subject is served[0] and variant in model.SERVED)
            if budget.allows(f"{subject.name}, {variant}", _VARIANT_S):
                _say(f"{subject.name} alone: {variant}")
                batches = plan.batches if all_sizes else (found.bound.batch,)
                found.alone += model.measure(subject.artefact, variant, plan, batches)


def _subject(precision: str, plan: Any, parsed: argparse.Namespace) -> Any:
    from benchmarks import subjects

    if plan.architecture == "averages":
        return subjects.overhead(parsed.scratch)
    weights = next((parsed.shared / "weights").glob(f"{plan.architecture}.*"), None)
    name = f"{plan.architecture}-{precision}" + ("" if weights else "-untrained")
    artifacts = parsed.scratch / "artifacts"
    command = [sys.executable, "-m", "export", plan.architecture, "--weights", str(weights or "untrained")]
    command += ["--name", name, "--precision", precision, "--output", str(artifacts), "--if-missing", "--quiet"]
    _say(f"exporting {name}, unless it is there already")
    subprocess.run(command, check=True, cwd=ROOT)
    return subjects.Subject(name, artifacts, name, (), "trained" if weights else "UNTRAINED")


def _about(plan: Any) -> dict[str, Any]:
    from service.threads import available_cores

    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "card": _card(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "command": f"python -m benchmarks.gpu {' '.join(sys.argv[1:])}".strip(),
    }
    for name in _VERSIONS:
        try:
            about[name] = version(name)
        except PackageNotFoundError:
            continue
    if plan.device == "cpu":
        about["note"] = "a dry run on the CPU: its figures say nothing"
    return about


def _no_card() -> str | None:
    """Return why no card can be used here, or None."""
    from service.engine.device import CudaDevice
    from service.engine.interface import CUDA, EngineError
    from service.engine.sessions import missing

    try:
        CudaDevice(0)
    except EngineError as error:
        return missing(CUDA) or str(error)
    return missing(CUDA)


def _card() -> str:
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip() or "none"
    except (OSError, subprocess.CalledProcessError):
        return "none"


def _compile_native() -> None:
    """Compile the C of `service` where the tree was never installed; as hatch_build.py does it."""
    library = ROOT / "service" / "libnative.so.1"
    if library.exists():
        return
    flags = ["-std=gnu11", "-O3", "-ffp-contract=off", "-fPIC", "-shared"]
    sources = map(str, sorted(library.parent.glob("*.c")))
    subprocess.run([os.environ.get("CC", "cc"), *flags, "-o", str(library), *sources], check=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry-run", action="store_true", help="everything small, on the CPU: to see that it works")
    parser.add_argument(
        "--shared",
        type=Path,
        default=Path(os.environ.get("RESNET_TEST_SHARED", ROOT.parent / "shared")),
        metavar="DIR",
        help="folder of weights/ and images/; without it, untrained weights and painted images (default: %(default)s)",
    )
    parser.add_argument(
        "--scratch", type=Path, default=ROOT / "build" / "gpu", metavar="DIR", help="where artefacts are kept"
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build" / "gpu", metavar="DIR", help="where gpu.json and gpu.md go"
    )
    return parser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
