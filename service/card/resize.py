"""Pictures on a card -> the pixels that the network takes, by `resize.cu`, compiled for the card at the start."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from service.contract import Preprocessing
from service.engine.device import Buffer, CudaDevice, Device, DeviceError
from service.engine.interface import EngineError
from service.resample import Axis, axes

SOURCE = Path(__file__).with_name("resize.cu")
_THREADS = 256  # of a block
_CHANNELS = 3


@dataclass(frozen=True)
class CardPicture:
    """A decoded picture on a device.

    Attributes:
        width: In pixels.
        height: In pixels.
        address: Where its first row begins: RGB levels, uint8 (height, width, 3).
        line: Bytes from one row to the next.
        owner: What the memory belongs to.
    """

    width: int
    height: int
    address: int
    line: int
    owner: object = None


class _Job(ctypes.Structure):
    """One picture; `resize.cu` has the same."""

    _fields_ = (
        ("pixels", ctypes.c_void_p),
        ("line", ctypes.c_int64),
        ("rows", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("tables", ctypes.c_void_p),
        ("height", ctypes.c_int64),
        ("x", Axis),
        ("y", Axis),
        ("most_x", ctypes.c_int32),
        ("most_y", ctypes.c_int32),
    )


class Kernels(Protocol):
    """The kernels of `resize.cu`, ready to run."""

    def launch(self, name: str, blocks: tuple[int, int], threads: int, jobs: int, stream: int) -> None:
        """Begin to run a kernel for the jobs at an address, after what is in `stream`."""


class Resizer:
    """Resizes batches of pictures on one stream.

    Args:
        device: Where the pictures are.
        kernels: For it.
        preprocessing: What the network was trained with.
        stream: Where all its work goes.
    """

    def __init__(self, device: Device, kernels: Kernels, preprocessing: Preprocessing, stream: int) -> None:
        self._device = device
        self._kernels = kernels
        self._preprocessing = preprocessing
        self._stream = stream
        self._scratch: Buffer | None = None
        self._scratch_bytes = 0

    def begin(self, pictures: Sequence[CardPicture], targets: Sequence[int]) -> object:
        """Begin to resize pictures to pixels (crop, crop, 3) at the addresses `targets`.

        Returns:
            What must be kept until the stream has been waited for.
        """
        jobs = (_Job * len(pictures))()
        offsets, size = [], 0
        for job, picture, target in zip(jobs, pictures, targets, strict=True):
            self._describe(job, picture, target)
            offsets.append(size)
            size += _rounded(self._bytes(job))
        scratch = self._room(size + ctypes.sizeof(jobs))
        for job, offset in zip(jobs, offsets, strict=True):
            job.rows = scratch.address + offset
            job.tables = job.rows + _rounded(job.height * job.x.count * _CHANNELS)
        at = scratch.address + size
        self._device.copy(at, ctypes.addressof(jobs), ctypes.sizeof(jobs), self._stream)
        widest = max(job.height * job.x.count for job in jobs)
        crop = self._preprocessing.crop
        for name, outputs in (("weigh", 2 * crop), ("along_x", widest), ("along_y", crop * crop)):
            blocks = (-(-outputs // _THREADS), len(jobs))
            self._kernels.launch(name, blocks, _THREADS, at, self._stream)
        return jobs, scratch

    def _describe(self, job: Any, picture: CardPicture, target: int) -> None:
        x, y = axes(picture.width, picture.height, self._preprocessing)
        x.base, _ = x.needed()
        y.base, bottom = y.needed()
        job.pixels, job.line, job.out = picture.address, picture.line, target
        job.height = bottom - y.base
        job.x, job.y = x, y
        job.most_x, job.most_y = x.most_taps(), y.most_taps()

    def _bytes(self, job: Any) -> int:
        tables = job.x.count * (2 + job.most_x) + job.y.count * (2 + job.most_y)
        size: int = _rounded(job.height * job.x.count * _CHANNELS) + 4 * tables
        return size

    def _room(self, size: int) -> Buffer:
        if self._scratch is None or self._scratch_bytes < size:
            self._scratch = None  # given back before more is taken
            self._scratch, self._scratch_bytes = self._device.allocate(2 * size), 2 * size
        return self._scratch


class CudaKernels:
    """`resize.cu`, compiled for a card by NVRTC.

    Raises:
        EngineError: it cannot be compiled or loaded here.
    """

    def __init__(self, device: CudaDevice) -> None:
        try:
            from cuda.bindings import driver, nvrtc
        except ImportError as error:
            raise EngineError(f"cuda-bindings is not installed ({error}): install resnet-serve[gpu]") from error
        self._driver, self._nvrtc = driver, nvrtc
        device.use()
        try:
            code = self._compiled(device)
            module = self._checked(driver.cuModuleLoadData(code))
            names = ("weigh", "along_x", "along_y")
            self._functions = {name: self._checked(driver.cuModuleGetFunction(module, name.encode())) for name in names}
        except (DeviceError, RuntimeError) as error:
            raise EngineError(f"{SOURCE.name} cannot be compiled for the card: {error}") from error

    def launch(self, name: str, blocks: tuple[int, int], threads: int, jobs: int, stream: int) -> None:
        """Begin to run a kernel; see `Kernels`."""
        arguments = ((jobs,), (ctypes.c_void_p,))
        function = self._functions[name]
        self._checked(self._driver.cuLaunchKernel(function, *blocks, 1, threads, 1, 1, 0, stream, arguments, 0))

    def _compiled(self, device: CudaDevice) -> bytes:
        nvrtc = self._nvrtc
        program = self._checked(nvrtc.nvrtcCreateProgram(SOURCE.read_bytes(), SOURCE.name.encode(), 0, [], []))
        # No contraction of a product and a sum into one instruction: it rounds once instead of twice.
        options = [f"--gpu-architecture=sm_{device.architecture}".encode(), b"--fmad=false"]
        (result,) = nvrtc.nvrtcCompileProgram(program, len(options), options)
        if int(result):
            log = b" " * self._checked(nvrtc.nvrtcGetProgramLogSize(program))
            self._checked(nvrtc.nvrtcGetProgramLog(program, log))
            raise DeviceError(log.decode(errors="replace"))
        code: bytes = b" " * self._checked(nvrtc.nvrtcGetCUBINSize(program))
        self._checked(nvrtc.nvrtcGetCUBIN(program, code))  # writes into it
        return code

    def _checked(self, returned: tuple[Any, ...]) -> Any:
        error, *results = returned
        if int(error):
            raise DeviceError(f"{error.name}")
        return results[0] if results else None


def _rounded(size: int) -> int:
    return -(-size // 16) * 16
