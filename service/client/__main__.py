"""`resnet-classify`, and `python -m service.client`: images to classes, from the command line."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from service.client.failures import Unreachable
from service.client.http import DEFAULT_URL, Client
from service.client.inputs import InputError, Named, gathered
from service.client.output import FORMATS, complain, told
from service.errors import ServiceError, StartError, Unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.client.answers import Outcome

DESCRIPTION = "Classify images with a running resnet-serve, or with an artefact and no service."
EPILOG = """\
examples:
  resnet-classify cat.jpg dog.png --top-k 3
  resnet-classify photos/ --format csv > classes.csv             a folder, with all that is below it
  find . -newer stamp -name '*.jpg' | resnet-classify --files-from -
  curl -s https://example.org/cat.jpg | resnet-classify -        one image on stdin
  resnet-classify cat.jpg --artifact artifacts/resnet50          offline
  resnet-classify cat.jpg --url https://images.example.org       with RESNET_API_KEY in the environment

exit codes:
  0 every image was classified; 1 some were not: the output says which and why; 2 a flag or a path that cannot be
  used; 3 there is no service or no artefact to ask, or it does not let you; 130 interrupted"""

ALL, SOME_FAILED, MISUSED, NOBODY_TO_ASK, INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Classify what the arguments name; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if not options.images and options.files_from is None:
        parser.error("name an image, a folder, or - for stdin")
    if options.api_key_file is not None and options.artifact is not None:
        parser.error("an artefact wants no key")
    try:
        images = gathered(options.images, options.files_from)
        return _classify(images, options)
    except BrokenPipeError:  # who reads has enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python would still flush
        return ALL
    except (InputError, OSError) as error:
        complain(str(error))
        return MISUSED
    except (StartError, Unreachable, Unauthorized) as error:
        complain(told(error))
        return NOBODY_TO_ASK
    except ServiceError as error:
        complain(told(error))
        return SOME_FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _classify(images: Sequence[Named], options: argparse.Namespace) -> int:
    output = FORMATS[options.format](sys.stdout)
    failed, warned = 0, False
    for named, outcome in zip(images, _outcomes(images, options), strict=True):
        if isinstance(outcome.error, Unreachable | Unauthorized):
            raise outcome.error  # as it would be for all others
        output.write(named.name, outcome)
        failed += outcome.result is None
        if outcome.result is not None and not outcome.result.model.trained and not warned:
            complain("these weights are UNTRAINED: every prediction is meaningless")
            warned = True
    if failed:
        complain(f"{failed} of {len(images)} images were not classified")
    return SOME_FAILED if failed else ALL


def _outcomes(images: Sequence[Named], options: argparse.Namespace) -> Iterator[Outcome]:
    sources = [named.image for named in images]
    progress = len(images) > 1 and sys.stderr.isatty() and not options.quiet
    if options.artifact is not None:
        from service.client.offline import OfflineClient  # an installation that only asks services has no engine

        offline = OfflineClient(options.artifact, provider=options.provider)
        yield from offline.classify_many(sources, top_k=options.top_k, progress=progress)
        return
    with Client(
        options.url,
        api_key=_api_key(options.api_key_file),
        model=options.model,
        version=options.version,
        timeout_s=options.timeout_s,
    ) as client:
        yield from client.classify_many(
            sources, top_k=options.top_k, concurrency=options.concurrency, progress=progress
        )


def _api_key(file: Path | None) -> str | None:
    """Not as an argument: every user of a machine sees those."""
    return os.environ.get("RESNET_API_KEY") if file is None else file.read_text().strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "resnet-classify",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="a file; a folder; or -, an image on stdin")
    parser.add_argument("--files-from", metavar="FILE", help="a list of files, one a line; - for stdin")
    parser.add_argument("--top-k", type=_positive, metavar="K", help="how many classes of each (default: 5)")
    parser.add_argument("--format", choices=FORMATS, default="table", help="how to write them (default: table)")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    online = parser.add_argument_group("asking a service")
    url = os.environ.get("RESNET_URL", DEFAULT_URL)
    online.add_argument("--url", default=url, help="where it is (default: RESNET_URL, or %(default)s)")
    online.add_argument("--model", help="which of its models (default: its first)")
    online.add_argument("--version", help="which version of that (default: the newest)")
    online.add_argument(
        "--api-key-file", type=Path, metavar="FILE", help="where the key stands that it wants (default: RESNET_API_KEY)"
    )
    online.add_argument("--timeout-s", type=float, default=30.0, help="time for an image (default: %(default)g)")
    online.add_argument("--concurrency", type=_positive, default=8, help="images at a time (default: %(default)s)")
    offline = parser.add_argument_group("asking an artefact")
    offline.add_argument("--artifact", metavar="PATH", help="its file or folder, such as artifacts/resnet50")
    offline.add_argument(
        "--provider", choices=("auto", "cuda", "cpu"), default="auto", help="what computes (default: auto)"
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
