"""Settings that an older version of the program wrote, as they were meant then."""

from collections.abc import Mapping
from typing import Any

from hardprompt.tasks.template import unescaped

_RENAMED = {"validate_on": "validation_rows", "test_on": "test_rows"}


def as_meant(values: Mapping[str, Any]) -> dict[str, Any]:
    """What ``run.yaml`` of 0.1 holds, for this version; anything else is as it is.

    Version 0.1 read escapes in a template wherever it came from.
    """
    versions = values.get("versions")
    if not isinstance(versions, Mapping) or not str(versions.get("hardprompt", "0.1.0")).startswith("0.1."):
        return dict(values)
    template = {"template": unescaped(str(values["template"]))} if values.get("template") else {}
    return {_RENAMED.get(name, name): value for name, value in {**values, **template}.items()}
