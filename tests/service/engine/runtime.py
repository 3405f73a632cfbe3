"""NVIDIA's bindings of the CUDA runtime, as far as `CudaDevice` calls them, on the host: as late as a card may be.

What is put into a stream happens when that stream is waited for, and not before; what the default stream has to do
comes in between, since no other waits for it. Memory holds what nobody wrote. So what works only because something
happens to have been done in time does not work here.
"""

from __future__ import annotations

import ctypes
import sys
import types
from collections import defaultdict
from collections.abc import Callable
from enum import IntEnum

import pytest

from service.engine.device import CudaDevice

_RUBBISH = 0xA5


class Error(IntEnum):
    cudaSuccess = 0  # noqa: N815 - NVIDIA's names, in all of this file
    cudaErrorMemoryAllocation = 2  # noqa: N815
    cudaErrorIllegalAddress = 700  # noqa: N815


class _Kinds:
    cudaMemcpyDefault = 4  # noqa: N815


class _Properties:
    name, major, minor = b"Late\0\0", 9, 0


class LateRuntime:
    """See this file's first lines.

    Attributes:
        due: What each stream has still to do.
        held: Memory that was not given back, by its address.
        flags: What the device was told.
        failing: Where it is true nothing works any more, as after an illegal access.
    """

    cudaDeviceScheduleBlockingSync = 4  # noqa: N815
    cudaHostAllocDefault = 0  # noqa: N815
    cudaStreamNonBlocking = 1  # noqa: N815
    cudaMemcpyKind = _Kinds  # noqa: N815

    def __init__(self, room: int = 1 << 40, devices: int = 1) -> None:
        self.due: defaultdict[int, list[Callable[[], object]]] = defaultdict(list)
        self.held: dict[int, ctypes.Array[ctypes.c_uint8]] = {}
        self.flags = 0
        self.failing = False
        self._room, self._devices, self._streams = room, devices, 0

    def put(self, stream: int, work: Callable[[], object]) -> tuple[Error]:
        """Put work into a stream."""
        self.due[stream].append(work)
        return (Error.cudaSuccess,)

    def cudaGetDeviceCount(self) -> tuple[Error, int]:  # noqa: N802
        return Error.cudaSuccess, self._devices

    def cudaGetDeviceProperties(self, device: int) -> tuple[Error, type[_Properties]]:  # noqa: N802
        return Error.cudaSuccess, _Properties

    def cudaSetDevice(self, device: int) -> tuple[Error]:  # noqa: N802
        assert device < self._devices
        return (Error.cudaSuccess,)

    def cudaSetDeviceFlags(self, flags: int) -> tuple[Error]:  # noqa: N802
        self.flags = flags
        return (Error.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Error, int]:  # noqa: N802
        assert flags == self.cudaStreamNonBlocking, "it would wait for the default stream, and that for it"
        self._streams += 1
        return Error.cudaSuccess, self._streams

    def cudaMalloc(self, size: int) -> tuple[Error, int | None]:  # noqa: N802
        if size > self._room:
            return Error.cudaErrorMemoryAllocation, None
        memory = (ctypes.c_uint8 * size)()
        ctypes.memset(memory, _RUBBISH, size)
        self.held[ctypes.addressof(memory)] = memory
        return Error.cudaSuccess, ctypes.addressof(memory)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Error, int | None]:  # noqa: N802
        return self.cudaMalloc(size)

    def cudaFree(self, address: int) -> tuple[Error]:  # noqa: N802
        del self.held[address]
        return (Error.cudaSuccess,)

    cudaFreeHost = cudaFree  # noqa: N815

    def cudaMemset(self, address: int, value: int, count: int) -> tuple[Error]:  # noqa: N802
        return self.put(0, lambda: ctypes.memset(address, value, count))

    def cudaMemcpyAsync(self, target: int, source: int, count: int, kind: int, stream: int) -> tuple[Error]:  # noqa: N802
        assert kind == _Kinds.cudaMemcpyDefault
        return self.put(stream, lambda: ctypes.memmove(target, source, count))

    def cudaStreamSynchronize(self, stream: int) -> tuple[Error]:  # noqa: N802
        if self.failing:
            return (Error.cudaErrorIllegalAddress,)
        for work in self.due.pop(stream, ()):
            work()
            for meanwhile in self.due.pop(0, ()):
                meanwhile()
        return (Error.cudaSuccess,)

    def cudaMemGetInfo(self) -> tuple[Error, int, int]:  # noqa: N802
        return Error.cudaSuccess, self._room - sum(map(len, self.held.values())), self._room


class LateDevice(CudaDevice):
    """A card's device whose memory ONNX Runtime and nvImageCodec find on the host."""

    kind = "cpu"


def late_device(monkeypatch: pytest.MonkeyPatch, runtime: LateRuntime) -> LateDevice:
    """Return a device that asks `runtime`."""
    bindings = types.ModuleType("cuda.bindings")
    bindings.runtime = runtime  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    return LateDevice(0)
