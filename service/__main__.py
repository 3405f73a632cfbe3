"""`resnet-serve`, and `python -m service`: serve an artefact over HTTP."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_settings import CliApp

from service.app import create_app
from service.repository import RepositoryError, find
from service.server import Server
from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop.

    Returns:
        The exit code: 0 after a clean stop, 1 when there is nothing to serve, 2 for a setting that is wrong.
    """
    try:
        settings = CliApp.run(Settings, list(sys.argv[1:] if arguments is None else arguments))
        find(settings.artifacts, settings.model)
    except ValidationError as error:
        for wrong in error.errors():
            name = ".".join(map(str, wrong["loc"])).replace("_", "-")
            print(f"resnet-serve: {'--' if name else ''}{name}: {wrong['msg']}", file=sys.stderr)
        return 2
    except RepositoryError as error:
        print(f"resnet-serve: {error}", file=sys.stderr)
        return 1
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return Server(settings, create_app(settings)).run_until_stopped()


if __name__ == "__main__":
    sys.exit(main())
