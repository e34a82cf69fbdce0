"""Is the service of this environment alive? For a container engine: exit code 0.

``python -m utils.service.alive TRAINING_REGISTRY`` asks ``/healthz`` on ``TRAINING_REGISTRY_PORT``.
"""

from __future__ import annotations

import http.client
import os
import sys

from utils.service.settings import WebSettings

_SECONDS = 4.0


def main(prefix: str) -> int:
    """Ask the service whose settings begin with ``prefix``."""
    default = WebSettings.model_fields["port"].default
    port = int(os.environ.get(f"{prefix}_PORT", default))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", "/healthz")
        status = connection.getresponse().status
    except OSError as error:
        sys.stderr.write(f"Nothing answers on port {port}: {error}.\n")
        return 1
    return 0 if status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
