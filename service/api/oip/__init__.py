"""`/v2`: the Open Inference Protocol v2 over HTTP, with Triton's extensions, so that its clients work unmodified.

request.py      an inference request: JSON, and tensors behind it in binary
tensors.py      tensors from JSON and from binary, bounded before memory is spent
coding.py       gzip and deflate, both ways
answer.py       rows of probabilities, or the most probable classes, in JSON and in binary
infer.py        POST …/infer, which ties these together
about.py        server and models: health, metadata, configuration
documents.py    what the OpenAPI document says of them
administration.py  the repository: index, load, unload

The protocol: KServe's `open-inference-protocol`, `specification/protocol/inference_rest.md`. The extensions: Triton's
`docs/protocol/extension_{binary_data,classification,model_configuration,model_repository,schedule_policy}.md`.
Failures are {"error": "…"} in application/json, with the statuses of the rest of the service.
"""
