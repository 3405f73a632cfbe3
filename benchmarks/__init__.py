"""How fast the service is, beside the fastest that its own parts allow, in one run on one machine.

    python -m benchmarks                 (make bench; five minutes at most)

__main__.py   the command line
plan.py       how much is measured, and for how long
subjects.py   what is served: artefacts and the images sent to them
toy.py        a network that only averages pixels, so that what remains is the service's overhead
bound.py      decode and inference in a bare loop: what no server can beat
server.py     the real `resnet-serve`, started, watched and stopped
processes.py  CPU time and memory of a process and its children
load.py       closed-loop load: wrk with closed.lua, or our generator where there is no wrk
generator.py  our load generator: a fixed number of clients, or arrivals at a rate that does not wait for answers
rates.py      images per second out of bursts of completions; percentiles
run.py        everything in turns, round by round, so that a noisy neighbour troubles all alike
targets.py    what has to be reached, and whether it was
report.py     the Markdown table and the JSON
plot.py       the figure

    python -m benchmarks.runtime         (minutes)

runtime.py    why the engine and its threads are arranged as they are: sessions, calls, freed memory
sessions.py   ONNX Runtime's sessions: what they reach, what loading takes, what they hold
freed.py      page faults of decoding, in a process of its own

    python -m benchmarks.gpu             (eight minutes at most, on a machine with a card)

gpu.py        the engine alone, PyTorch, and the service through HTTP, in one run
card/         its parts

    python benchmarks/decode.py

decode.py     what decoding costs, against Pillow
"""
