"""A card's memory, streams and copies, by NVIDIA's own bindings of the CUDA runtime (cuda-bindings)."""

from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from service.engine.interface import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import DTypeLike, NDArray


_DEFAULT_STREAM = 0


class Buffer(Protocol):
    """Memory of a device, given back when nothing refers to it any more.

    Attributes:
        address: Where it begins, on the device.
    """

    address: int


class Device(Protocol):
    """What lanes need of a device.

    Attributes:
        kind: In ONNX Runtime's words: "cuda", or "cpu" for memory of the host.
        index: Which one of its kind.
    """

    kind: str
    index: int

    def use(self) -> None:
        """Make it the calling thread's device."""

    def stream(self) -> int:
        """Return a new stream, as an address: work in it is done in order, beside that in other streams."""

    def allocate(self, size: int) -> Buffer:
        """Return `size` bytes, zeroed."""

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array in page-locked memory of the host, which copies need to go on beside other work."""

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Begin to copy `size` bytes between addresses of the host or the device, after what is in `stream`."""

    def wait(self, stream: int) -> None:
        """Wait until all that is in `stream` has been done."""

    def memory(self) -> tuple[int, int]:
        """Return how many bytes are free, and how many there are."""


class Resident:
    """An image's pixels, (crop, crop, 3), on the device already, where a run finds them.

    Its slot is given back when nobody refers to it any more: neither who waits in line nor a run.

    Args:
        address: Of the pixels.
        free: Takes the address back; what the memory belongs to lives as long as this does.
    """

    __slots__ = ("_free", "address")

    def __init__(self, address: int, free: Callable[[int], object]) -> None:
        self.address = address
        self._free = free

    def __del__(self) -> None:
        self._free(self.address)


class DeviceError(RuntimeError):
    """What the CUDA runtime reports; `service.shortage` knows its word for too little memory."""


class CudaDevice:
    """An NVIDIA card; see `Device`.

    Raises:
        EngineError: there is none of that number, or no way to talk to it.
    """

    kind = "cuda"

    def __init__(self, index: int) -> None:
        try:
            from cuda.bindings import runtime
        except ImportError as error:
            raise EngineError(f"cuda-bindings is not installed ({error}): install resnet-serve[gpu]") from error
        self.index = index
        self._cuda = runtime
        try:
            count = self._call("cudaGetDeviceCount")
            if index >= count:
                raise EngineError(f"there is no CUDA device {index}: {count} were found")
            self.use()
            # Waiting threads sleep. By default they spin, and each takes a core from decoding and HTTP meanwhile
            # (CUDA Runtime API, cudaSetDeviceFlags).
            self._call("cudaSetDeviceFlags", runtime.cudaDeviceScheduleBlockingSync)
        except (DeviceError, RuntimeError) as error:  # the bindings raise RuntimeError where there is no driver
            if isinstance(error, EngineError):
                raise
            raise EngineError(f"CUDA device {index} does not answer: {error}") from error

    @property
    def name(self) -> str:
        """What its maker calls it."""
        name: bytes = self._call("cudaGetDeviceProperties", self.index).name
        return name.decode().rstrip("\0")

    @property
    def architecture(self) -> str:
        """Its compute capability, as NVIDIA's compilers write it: "90"."""
        properties = self._call("cudaGetDeviceProperties", self.index)
        return f"{properties.major}{properties.minor}"

    def use(self) -> None:
        """Make it the calling thread's device."""
        self._call("cudaSetDevice", self.index)

    def stream(self) -> int:
        """Return a new stream, which does not wait for the default one (CUDA C++ Programming Guide, Streams)."""
        return int(self._call("cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking))

    def allocate(self, size: int) -> Buffer:
        """Return `size` bytes, zeroed."""
        buffer = _CudaBuffer(int(self._call("cudaMalloc", size)), self._cuda.cudaFree)
        self._call("cudaMemset", buffer.address, 0, size)
        # That only begins, in the default stream, which ours do not wait for: it might undo their first copy.
        self.wait(_DEFAULT_STREAM)
        return buffer

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return a zeroed array in page-locked memory, given back with its last view."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        address = int(self._call("cudaHostAlloc", size, self._cuda.cudaHostAllocDefault))
        memory = (ctypes.c_uint8 * size).from_address(address)
        weakref.finalize(memory, self._cuda.cudaFreeHost, address).atexit = False  # every view refers to `memory`
        array: NDArray[Any] = np.frombuffer(memoryview(memory), dtype).reshape(shape)
        array[...] = 0
        return array

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Begin to copy `size` bytes, in `stream`."""
        self._call("cudaMemcpyAsync", target, source, size, self._cuda.cudaMemcpyKind.cudaMemcpyDefault, stream)

    def wait(self, stream: int) -> None:
        """Wait until all that is in `stream` has been done; what failed there is raised here."""
        self._call("cudaStreamSynchronize", stream)

    def memory(self) -> tuple[int, int]:
        """Return how many bytes are free, and how many there are."""
        free, total = self._call("cudaMemGetInfo")
        return int(free), int(total)

    def _call(self, function: str, *arguments: Any) -> Any:
        error, *results = getattr(self._cuda, function)(*arguments)
        if int(error):
            raise DeviceError(f"{function}: {error.name}")
        return results[0] if len(results) == 1 else results


class _CudaBuffer:
    """Memory of a card."""

    def __init__(self, address: int, free: Callable[[int], object]) -> None:
        self.address = address
        # What goes wrong with freeing has been reported by something else before; at the end the driver frees all.
        weakref.finalize(self, free, address).atexit = False


class HostDevice:
    """Memory of the host in a card's place: the same lanes, on ONNX Runtime's CPU provider; see `Device`.

    For tests, and for trying benchmarks/gpu.py where there is no card.
    """

    kind, index = "cpu", 0

    def use(self) -> None:
        """There is only one."""

    def stream(self) -> int:
        """Everything is done at once, in order."""
        return 0

    def allocate(self, size: int) -> Buffer:
        """Return `size` bytes, zeroed."""
        return _HostBuffer(size)

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array like any other."""
        return np.zeros(shape, dtype)

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        """Copy at once."""
        ctypes.memmove(target, source, size)

    def wait(self, stream: int) -> None:
        """It has been done."""

    def memory(self) -> tuple[int, int]:
        """Say nothing of the host's memory."""
        return 0, 0


class _HostBuffer:
    def __init__(self, size: int) -> None:
        self._array = np.zeros(size, np.uint8)
        self.address: int = self._array.ctypes.data
