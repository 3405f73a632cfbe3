"""Sessions of ONNX Runtime, and the options of each execution provider.

What the options do: ONNX Runtime's pages on the CUDA and the TensorRT execution provider.
"""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnxruntime as ort

from service.contract import INPUT_NAME, Contract
from service.engine.interface import CPU, CUDA, TENSORRT, EngineError, bucket_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

logger = logging.getLogger(__name__)

TRANSPOSED = "preprocess.transpose"  # what the exporter calls the pixels when their channels have come first
_MIB = 1 << 20


@dataclass(frozen=True)
class Tuning:
    """How a card is used; see the settings of the same names.

    Attributes:
        memory_mib: Most memory of all lanes' arenas together; 0 for no limit.
        graphs: Whether runs may be replayed from CUDA graphs; for None what is faster, bucket by bucket.
        options: Options of the CUDA execution provider that take the place of ours.
        tensorrt_cache: Folder of TensorRT's engines.
    """

    memory_mib: int = 0
    graphs: bool | None = False
    options: dict[str, str] = field(default_factory=dict)
    tensorrt_cache: Path | None = None


def session(
    path: Path, providers: list[Any], threads: int, *, spin: bool = False, cores: Sequence[int] = ()
) -> ort.InferenceSession:
    """Return a session of the artefact at `path`.

    Args:
        path: The artefact.
        providers: In ONNX Runtime's form, the preferred first.
        threads: Per run, on the CPU.
        spin: Whether they wait actively between two operators.
        cores: Which core each of them stays on, where there is one for each. The first is the caller's, who calls
            `run` from there: the others are the session's own.

    Raises:
        EngineError: it cannot be loaded.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spin else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")  # when the run ends
    if len(cores) == threads > 1:  # ONNX Runtime counts them from one
        affinities = ";".join(str(core + 1) for core in cores[1:])
        options.add_session_config_entry("session.intra_op_thread_affinities", affinities)
    options.enable_mem_pattern = False  # memory by the largest batch seen, not one plan for each: same speed
    options.log_severity_level = 3
    try:
        # Without falling back: ONNX Runtime would print why, and go on on the CPU.
        return ort.InferenceSession(path, options, providers=providers, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception
        raise EngineError(f"{path.resolve()} cannot be loaded: {error}") from error


def cuda_options(device_id: int, stream: int, tuning: Tuning, lanes: int, contract: Contract) -> dict[str, str]:
    """Return the options of the CUDA execution provider for one of `lanes` sessions on one device.

    Args:
        device_id: The device.
        stream: The CUDA stream of all its work, as an address.
        tuning: What the user set.
        lanes: How many sessions share the device.
        contract: What the artefact promises.
    """
    options = {
        "device_id": str(device_id),
        "user_compute_stream": str(stream),
        "cudnn_conv_algo_search": "EXHAUSTIVE",  # every bucket is searched once, at warm-up
        "arena_extend_strategy": "kSameAsRequested",  # doubling would take what other buckets and processes need
        # Half precision is for tensor cores, which take channels last; else cuDNN turns every layer around.
        "prefer_nhwc": str(int(contract.precision == "fp16")),
        # TF32 keeps 10 bits of the mantissa. Who exported float32 was promised float32; float16 is faster than both.
        "use_tf32": "0",
        "enable_cuda_graph": str(int(tuning.graphs is not False)),
    }
    if tuning.memory_mib:
        options["gpu_mem_limit"] = str(tuning.memory_mib * _MIB // lanes)
    return options | tuning.options


def tensorrt_options(device_id: int, stream: int, tuning: Tuning, contract: Contract, largest: int) -> dict[str, str]:
    """Return the options of the TensorRT execution provider: one engine for all batches up to `largest`, kept on disk.

    Args:
        device_id: The device.
        stream: The CUDA stream of all its work, as an address.
        tuning: What the user set.
        contract: What the artefact promises.
        largest: Images in one run at most.
    """
    largest = max(largest, bucket_for(len(contract.golden)))  # golden images are asked together
    options = {
        "device_id": str(device_id),
        "user_compute_stream": str(stream),
        # Of this provider ONNX Runtime takes "True" and "False" alone, where CUDA's takes "1" and "0" as well.
        "trt_fp16_enable": str(contract.precision == "fp16"),
        "trt_int8_enable": str(contract.precision == "int8"),
        # TensorRT can do nothing with bytes but convert them (https://github.com/NVIDIA/TensorRT/issues/3985), so CUDA
        # transposes; the three before are ONNX Runtime's own choice.
        "trt_op_types_to_exclude": "NonMaxSuppression,NonZero,RoiAlign,Transpose",
        "trt_profile_min_shapes": _shapes(contract, 1),
        "trt_profile_opt_shapes": _shapes(contract, largest),
        "trt_profile_max_shapes": _shapes(contract, largest),
    }
    if tuning.tensorrt_cache is not None:
        options |= {
            "trt_engine_cache_enable": "True",
            "trt_engine_cache_path": str(tuning.tensorrt_cache),
            "trt_timing_cache_enable": "True",
            "trt_timing_cache_path": str(tuning.tensorrt_cache),
        }
    return options


def _shapes(contract: Contract, images: int) -> str:
    """Return the shapes of pixels before and after the transpose, as TensorRT's provider reads them."""
    crop = contract.preprocessing.crop
    return f"{INPUT_NAME}:{images}x{crop}x{crop}x3,{TRANSPOSED}:{images}x3x{crop}x{crop}"


def check_provider(provider: str, session_: ort.InferenceSession) -> None:
    """Hold a session to the provider that it was made for.

    Raises:
        EngineError: ONNX Runtime went on with another.
    """
    if (found := session_.get_providers()[0]) != provider:
        raise EngineError(f"ONNX Runtime could not start {provider} and fell back to {found}; its message is above")


def missing(provider: str) -> str | None:
    """Return why `provider` cannot work here, as far as can be told without starting it, or None."""
    available = ort.get_available_providers()
    if provider not in available:
        return f"ONNX Runtime here was built for {', '.join(available)}"
    if provider in (CUDA, TENSORRT):
        ort.preload_dlls()  # the CUDA and cuDNN wheels' libraries, which are not on the loader's path
    if provider == TENSORRT:
        _preload_tensorrt()
        for library in ("libnvinfer.so.10", "libnvonnxparser.so.10"):
            try:
                ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
            except OSError as error:
                return f"TensorRT's libraries are not here ({error}): install 'tensorrt-cu13<11', or NVIDIA's packages"
    return None


def _preload_tensorrt() -> None:
    """Load the libraries of the tensorrt wheel, where it is installed: they are not on the loader's path either."""
    try:
        import tensorrt  # noqa: F401 - importing it loads them
    except ImportError as error:
        logger.debug("no tensorrt wheel: %s", error)


def cpu_session(path: Path) -> ort.InferenceSession:
    """Return a session on one thread of the CPU."""
    return session(path, [CPU], 1)
