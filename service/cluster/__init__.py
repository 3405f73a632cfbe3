"""Several processes: N frontends that speak HTTP and decode, one engine process per device, one supervisor.

clients ──▶ frontend 0 ─┐  slot numbers over ZeroMQ (ipc)      ┌─▶ batcher ─▶ ORT session (device 0)
        ──▶ frontend 1 ─┼──────────────────────────────────────┤
        ──▶ frontend … ─┘  pixels in one shared-memory arena   └─▶ batcher ─▶ ORT session (device 1)

supervisor ── starts, watches, replaces and stops them all; its end of a pipe to each is their lifeline

run.py             what is there before the supervisor, and gone after it
supervisor.py      the parent: when to start, replace and stop what; owns the port and the sockets' folder
hall.py            one model: its engines, its arena, where they listen; halls.py makes them
shelf.py           its artefact, whatever becomes of the repository
audience.py        the frontends, as those who have to know which halls serve
keeper.py          keeps a place filled; post.py is the place, pulse.py sees who stands still
child.py           one process as its parent sees it; seat.py what an engine's is for
control.py         what parent and child tell each other
tally.py           which row of the ledger of metrics each process counts in
arena.py           the shared memory: slots of pixels and results, and the board of who has how many
messages.py        what frontends and engines tell each other, byte by byte
channel.py         a ZeroMQ socket on an asyncio event loop
frontend.py        a frontend's process: the HTTP server
follower.py        serves the models that the supervisor says
client.py          a frontend's side of the line: `service.backend.Backend` without an engine
files.py           places whose slots take files, for engines that decode
engine_process.py  an engine's process: load, warm up, serve until told to stop
desk.py            an engine's side of the line: submissions in, outcomes out, one batcher in between
"""
