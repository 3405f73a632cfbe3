"""The service on a card: see `benchmarks.gpu`.

plan.py      how much is measured, and for how long
model.py     the engine alone: provider options compared, and the bound
pytorch.py   PyTorch's own best on the same network, in a process of its own
bodies.py    what is sent: photos, and tensors as the Open Inference Protocol has them
crowd.py     load from several generators at once
service.py   through HTTP, by frontends and concurrency
watch.py     how busy the card is
results.py   figures -> ratios, verdicts, a table
"""
