"""Docker's health check: exits 0 if the service in this container would answer a request."""

from __future__ import annotations

import http.client
import os
import sys


def main() -> int:
    """Ask `/readyz` on the port that the service's environment names."""
    port = os.environ.get("RESNET_MANAGEMENT_PORT") or os.environ.get("RESNET_PORT", "8000")
    host = os.environ.get("RESNET_HOST", "127.0.0.1")
    connection = http.client.HTTPConnection("127.0.0.1" if host in ("0.0.0.0", "::") else host, int(port), timeout=4)  # noqa: S104
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        print(answer.status, answer.read(1000).decode(errors="replace"))
    except OSError as error:
        print(error)
        return 1
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
