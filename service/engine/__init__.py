"""Engines: an artefact becomes sessions of ONNX Runtime, a batch becomes probabilities. Nothing else knows it.

interface.py  what serving needs of an engine, and what every artefact's graph must be
sessions.py   sessions, and the options of each execution provider
choice.py     which provider works here, and its engine
cpu.py        the engine on the CPU
cuda.py       the engine on a card, by CUDA or TensorRT
lane.py       one of its runs: a thread, a session, and buffers that never move
device.py     a card's memory, streams and copies
"""

from service.engine.choice import Choice, open_engine
from service.engine.interface import CPU, CUDA, TENSORRT, Engine, EngineError
from service.engine.sessions import Tuning

__all__ = ["CPU", "CUDA", "TENSORRT", "Choice", "Engine", "EngineError", "Tuning", "open_engine"]
