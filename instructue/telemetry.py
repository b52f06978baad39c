"""Switches off what other tools would send home. Entry points call it first; stages import the tools later."""

import os
import warnings

OFF = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",  # not telemetry: tokenizers warn at every fork otherwise
    "TRANSFORMERS_VERBOSITY": "error",  # nor this: it reports each weight that a cut model leaves out
}
# Said once per process by libraries about each other; nothing a reader could act on.
HARMLESS = ("`is_gradient_checkpointing` is deprecated", "Mismatch dtype between input and weight")


def telemetry_off() -> None:
    """Set each switch that the environment does not set already. Dagster's is in dagster.yaml."""
    for name, value in OFF.items():
        os.environ.setdefault(name, value)
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message=message)


def hub_off(*origins: str) -> None:
    """Keep Hugging Face libraries off the network, unless one of `origins` (a model's `source`) is the hub.

    Works only before huggingface_hub is imported.
    """
    if "hub" not in origins:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # with nothing to fetch, bars of milliseconds
