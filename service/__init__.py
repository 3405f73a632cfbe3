"""The runtime: serves artefacts over HTTP; imports neither torch nor the two sibling packages."""

import os

# ONNX Runtime's own builds report to their maker, and leave an identifier in the folder for temporary files; this is
# how one says no, before the runtime is loaded (microsoft/onnxruntime#27379).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
