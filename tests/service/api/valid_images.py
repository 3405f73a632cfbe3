"""What keeps to the OpenAPI document, for schemathesis: no schema says that bytes are an image, or what HTTP allows."""

from __future__ import annotations

import schemathesis
from hypothesis import strategies as st

from tests.service.api.greys import grey, in_base64

FORMATS = ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF"]
SIDES = st.integers(1, 50)

images = st.builds(grey, st.integers(0, 255), st.sampled_from(FORMATS), st.tuples(SIDES, SIDES))
schemathesis.openapi.format("binary", images)
schemathesis.openapi.format("byte", images.map(in_base64))
for media_type in ("image/*", "application/octet-stream"):
    schemathesis.openapi.media_type(media_type, images)


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: schemathesis.Case) -> bool:
    """A header that nobody knows is no mistake: "recipients SHOULD ignore" it (RFC 9110, 5.1)."""
    return not any("unknown-property" in name for name in case.headers or ())
