"""Sets of changes to params.yaml: {"section.key": value}, as its variants and a data set's .params.yaml hold them."""

import copy
from typing import Any

from instructue.errors import ConfigError


def with_variant(raw: dict[str, Any], variant: str) -> dict[str, Any]:
    """A copy of raw params with the changes of one named variant applied."""
    variants = raw.get("variants") or {}
    if variant not in variants:
        raise ConfigError(f"no variant {variant!r} in params.yaml; it has {sorted(variants)}")
    return with_changes(raw, variants[variant], f"variant {variant!r}")


def with_changes(raw: dict[str, Any], changes: dict[str, Any], who: str) -> dict[str, Any]:
    """A copy of nested values with those at dotted keys replaced. Raises ConfigError for a key that is not there."""
    changed = copy.deepcopy(raw)
    for dotted, value in changes.items():
        *sections, key = dotted.split(".")
        place = changed
        for section in sections:
            place = place.get(section) if isinstance(place, dict) else None
        if not isinstance(place, dict) or key not in place:
            raise ConfigError(f"{who} changes {dotted!r}, which is not in params.yaml")
        place[key] = value
    return changed
