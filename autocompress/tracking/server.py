"""The MLflow server that shows a search's folder on this machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from autocompress.tracking.store import database_uri


def server_command(out: Path, port: int) -> list[str]:
    """Return the command line that shows a search's folder in the MLflow UI on this machine."""
    out = out.resolve()
    options = {
        "--backend-store-uri": database_uri(out),
        "--artifacts-destination": str(out / "mlartifacts"),
        "--host": "127.0.0.1",
        "--port": str(port),
        "--workers": "1",
    }
    words = [word for option in options.items() for word in option]
    return [sys.executable, "-m", "mlflow", "server", *words]


def server_environment() -> dict[str, str]:
    """Return the environment to start that server with: it reports nothing over the network."""
    return {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
