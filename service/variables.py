"""Variables of the environment that look like settings and are none."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PREFIX = "RESNET_"
# What the exporter, the client and the tests read; and what Kubernetes sets where a Service is called resnet.
_OF_OTHERS = re.compile(r"RESNET_(WEIGHTS_MIRROR|API_KEY|URL|TEST_\w+|SERVICE_(HOST|PORT\w*)|PORT_\d+_\w+)")


def strangers(names: Iterable[str]) -> Iterator[str]:
    """Yield for each of `names` that begins as a setting does, and is none, what to tell its author."""
    known = [name.upper() for name in Settings.model_fields]
    for name in sorted(names):
        # Settings are found in any case, by pydantic-settings.
        rest = name.upper().removeprefix(_PREFIX)
        if not name.startswith(_PREFIX) or rest in known or _OF_OTHERS.fullmatch(name):
            continue
        nearest = get_close_matches(rest, known, 1)
        yield f"{name} is no setting, and has no effect" + (f": did you mean {_PREFIX}{nearest[0]}?" if nearest else "")
