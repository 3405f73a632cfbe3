"""Compiles the C of `service` when the project is built or installed: by `cc`, or what the variable CC names."""

from __future__ import annotations

import os
import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES, LIBRARY = "service/*.c", "service/libnative.so.1"
# No contraction of a product and a sum into one instruction: it rounds once instead of twice, and so to other weights.
FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fPIC", "-shared")


class CompileNative(BuildHookInterface):
    """Puts the library beside its source, and so into the wheel, which is then for this kind of machine only."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; called by hatchling before it collects files."""
        root = Path(self.root)
        compiler = shlex.split(os.environ.get("CC", "cc"))
        command = [*compiler, *FLAGS, "-o", str(root / LIBRARY), *map(str, sorted(root.glob(SOURCES)))]
        try:
            subprocess.run(command, check=True)  # noqa: S603 - the user's own compiler
        except FileNotFoundError as error:
            raise SystemExit(f"resnet-serve needs a C compiler to be built: no {command[0]} here (set CC)") from error
        build_data["artifacts"].append(LIBRARY)  # git ignores it
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
