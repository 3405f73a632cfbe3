"""The commands of `resnet-export`, one module each: `configure(parser)` adds its flags, `run(arguments)` does it.

Modules are imported only to be run or to show their help. Nothing heavy may be imported at their top: a command
that finds its work already done must not wait for PyTorch.
"""

from __future__ import annotations

# Name -> module. What is no command's name is the architecture of an export: `resnet-export resnet50 …`.
COMMANDS = {name: f"export.commands.{name}" for name in ("export", "verify", "inspect", "evaluate", "compare")}
DEFAULT = "export"
