"""Reading of YAML settings files; errors name file and line.

Scalars follow YAML 1.2, in which only `true` and `false` are booleans. PyYAML's rules (YAML 1.1) turn the ticker ON
into a boolean, 12:30 and 0700 into other numbers and 2024-01-02 into a date, from which the text cannot be recovered.
The type of a setting decides how a text is parsed.
"""

import re
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from quant_assets.errors import SettingsError


class _Loader(yaml.SafeLoader):
    """Scalars of YAML 1.2, and duplicate keys are errors: PyYAML would silently use the last one."""

    # Its own table: that of the base class is shared by all YAML readers of the process.
    yaml_implicit_resolvers: dict[str, Any] = {}

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._seen: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Read keys as text, refuse duplicate keys, and merge mappings of `<<`."""
        if id(node) in self._seen:  # an anchor that is merged several times is already flattened
            return
        self._seen.add(id(node))
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a text", key.start_mark)
            if keys[key.value] > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' is duplicated", key.start_mark
                )
            if key.tag != "tag:yaml.org,2002:merge":
                key.tag = "tag:yaml.org,2002:str"
        super().flatten_mapping(node)


for _tag, _pattern, _first in (
    ("bool", "true|false", "tf"),
    ("null", "~|null|", "~n"),
    ("int", "[-+]?(0|[1-9][0-9_]*)", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|(0|[1-9][0-9_]*)(\.[0-9]*|(?=[eE])))([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.inf|\.nan", "-+."),
    ("merge", "<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"({_pattern})\Z"), [*_first, *([""] if _tag == "null" else [])]
    )


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings of a file, cached until it changes, because a code server outlives changes of settings.

    Raises:
        SettingsError: it is missing, unreadable, not UTF-8, not valid YAML, or not a mapping; names the file.

    """
    state: tuple[int, ...]
    try:
        status = path.stat()
        state = status.st_mtime_ns, status.st_size, status.st_ino
    except (OSError, ValueError):  # the error is raised when it is read
        state = ()
    return _read(path, state)


@lru_cache(maxsize=64)
def _read(path: Path, state: tuple[int, ...]) -> dict[str, Any]:
    """Read a file; `state` is part of the cache key."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a safe loader)
    except FileNotFoundError:
        raise SettingsError(f"{path} is missing; set QUANT_CONF_DIR to the folder that holds base.yaml") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}; fix that, or set QUANT_CONF_DIR") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SettingsError(f"{path} is not UTF-8 (line {line}); save it in that encoding") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise SettingsError(f"{path} is nested too deeply; write it flatter") from None
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # a value that does not match its !!tag
        raise SettingsError(f"{path} has a value that does not match its tag: {error}; remove the tag") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold a mapping of settings, found {type(content).__name__}")
    return content
