"""Which line of a YAML file an error is about, and what would mend it."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError


def line_of(text: str, where: Sequence[str | int]) -> int:
    """Line, from 1, of the value at `where` (keys and list places); of the innermost part of it that is there."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 1
    for step in where:
        if isinstance(node, yaml.MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == str(step)), None)
            if found is None:
                continue  # a tag of the model, which the file does not know
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
    return line


def explain(error: ValidationError, text: str, model: type[BaseModel], most: int = 20) -> list[str]:
    """One line per fault: the line in the file, the field's way, what is wrong and the mend.

    `text` is the file that the error came from, `model` what it was checked against.
    """
    raw = yaml.safe_load(text)
    lines = []
    for fault in error.errors()[:most]:
        where = _named(fault["loc"], raw)
        said = _said(fault, _fields(model))
        lines.append(f"  line {line_of(text, fault['loc'])}, {where or 'the whole file'}: {said}")
    more = error.error_count() - len(lines)
    return [*lines, *([f"  and {more} more"] if more > 0 else [])]


def _said(fault: Any, known: Callable[[tuple], list[str]]) -> str:
    name = str(fault["loc"][-1]) if fault["loc"] else ""
    if fault["type"] == "extra_forbidden":
        fields = known(fault["loc"][:-1])
        close = difflib.get_close_matches(name, fields, n=1)
        return f"there is no such field; did you mean {close[0]!r}?" if close else f"no such field; there are {fields}"
    if fault["type"] == "missing":
        return f"it is missing; add `{name}: ...`"
    if fault["type"] == "string_pattern_mismatch" or name == "[key]":
        return f"{fault['input']!r} is no name; use small letters, digits and _, a letter first"
    value = fault["input"]
    got = f", it is {value!r}" if isinstance(value, str | int | float) and "database" not in fault["loc"] else ""
    quoted = "; put it in quotes" if fault["type"] == "string_type" and not isinstance(value, list | dict) else ""
    return fault["msg"].removeprefix("Value error, ") + got + quoted


def _named(loc: Sequence[str | int], raw: Any) -> str:
    """The way to a field, in which a list's place is followed by the name of what stands there."""
    parts = []
    for place, step in enumerate(loc):
        tag = isinstance(raw, dict) and step not in raw and place < len(loc) - 1
        if step == "[key]" or tag:
            continue
        inner = None
        if isinstance(raw, list) and isinstance(step, int) and step < len(raw):
            inner = raw[step]
        elif isinstance(raw, dict):
            inner = raw.get(step)
        called = inner.get("name") if isinstance(raw, list) and isinstance(inner, dict) else None
        parts.append(f"{step} ({called})" if called else str(step))
        raw = inner if inner is not None else raw
    return ".".join(parts)


def _fields(model: type[BaseModel]) -> Callable[[tuple], list[str]]:
    """A function from an error's location to the names of the fields that may stand there."""
    schema = model.model_json_schema()

    def resolved(node: dict[str, Any]) -> list[dict[str, Any]]:
        if "$ref" in node:
            return resolved(schema["$defs"][node["$ref"].rsplit("/", 1)[1]])
        return [r for kind in ("anyOf", "oneOf") for n in node.get(kind, []) for r in resolved(n)] or [node]

    def known(loc: tuple) -> list[str]:
        nodes = [schema]
        for step in loc:
            inner = []
            for node in nodes:
                if isinstance(step, int) and "items" in node:
                    inner += resolved(node["items"])
                elif step in node.get("properties", {}):
                    inner += resolved(node["properties"][step])
                else:
                    values = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
                    inner += [r for value in values if isinstance(value, dict) for r in resolved(value)]
            nodes = inner or nodes  # a tag of the model leads nowhere
        return sorted({name for node in nodes for name in node.get("properties", {})})

    return known
