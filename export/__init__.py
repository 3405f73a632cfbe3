"""A trained network becomes an artefact: one ONNX file that says everything serving it needs.

    checkpoint ─source─▶ network ─to_onnx─▶ graph ─verify─▶ certificate ─contract─▶ file ─repository─▶ DIR/NAME/VERSION

Each step is a function of its own; `export.pipeline` puts them in a row and `resnet-export` calls that.
"""

import service  # noqa: F401 - before ONNX Runtime, to whose telemetry it says no
