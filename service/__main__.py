"""`resnet-serve`, and `python -m service`: serve an artefact over HTTP."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from pydantic import ValidationError
from pydantic_settings import CliApp

from service import logs
from service.connections import raise_descriptor_limit
from service.errors import StartError
from service.keys import Keys
from service.listener import hand_over
from service.memory import keep_freed_memory
from service.repository import wanted
from service.settings import Settings
from service.variables import strangers

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop.

    Returns:
        The exit code: 0 after a clean stop, 1 when there is nothing to serve, 2 for a setting that is wrong.
    """
    try:
        settings = CliApp.run(Settings, list(sys.argv[1:] if arguments is None else arguments))
        for stranger in strangers(os.environ):
            print(f"resnet-serve: {stranger}", file=sys.stderr)
        return _serve(settings)
    except ValidationError as error:
        for wrong in error.errors():
            print(f"resnet-serve: {_described(wrong)}", file=sys.stderr)
        return 2
    except StartError as error:
        print(f"resnet-serve: {error}", file=sys.stderr)
        return 1


def _serve(settings: Settings) -> int:
    wanted(settings.artifacts, settings.model)
    if settings.model_admin and settings.api_keys_file is None:
        raise StartError("--model-admin: anybody could load and unload models; give --api-keys-file as well")
    if settings.api_keys_file is not None:
        Keys(settings.api_keys_file)  # of all the processes that would read it, this one can say best what is wrong
    keep_freed_memory()
    raise_descriptor_limit()
    # Imported here, since each shape needs much that the other does not.
    if settings.frontends:
        from service.cluster.run import serve

        return serve(settings)
    from service.app import create_app
    from service.server import Server

    logs.configure(settings)
    server = Server(settings, create_app(settings))
    code = server.run_until_stopped()
    if server.kept:
        _start_again(server.kept)
    return code


def _start_again(sockets: Sequence[socket.socket]) -> NoReturn:
    """Put a new process in the place of this one, under the same number: threads that hang end only with it."""
    hand_over(sockets)
    logging.shutdown()
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - what was started before, without a shell


def _described(wrong: ErrorDetails) -> str:
    message = wrong["msg"].removeprefix("Value error, ")
    if not wrong["loc"]:
        return message
    name = str(wrong["loc"][0])
    return f"--{name.replace('_', '-')} (or RESNET_{name.upper()}): {message}"


if __name__ == "__main__":
    sys.exit(main())
