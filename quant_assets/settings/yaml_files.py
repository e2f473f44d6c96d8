"""Reading a YAML file of settings: values as their writer meant them, mistakes named with file and line.

Scalars are read by the rules of YAML 1.2, under which only `true` and `false` are truths. PyYAML's own rules of 2005
turn the ticker ON into a truth, 12:30 and 0700 into other numbers and 2024-01-02 into a day, of which no text can be
made again. What a setting takes a text for is decided by its type.
"""

import re
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from quant_assets.errors import SettingsError


class _Loader(yaml.SafeLoader):
    """Scalars of YAML 1.2, and no key twice in a mapping: PyYAML would keep the second without a word."""

    # The table of the base class is that of everybody in this process who reads YAML.
    yaml_implicit_resolvers: dict[str, Any] = {}

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._seen: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Take each key as the text that it is, refuse one that stands twice, and take in what `<<` names."""
        if id(node) in self._seen:  # an anchor that several mappings take in has its keys and those it took in by now
            return
        self._seen.add(id(node))
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a text", key.start_mark)
            if keys[key.value] > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' stands twice", key.start_mark
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
    """The settings of a file; read again when it has changed, for a code server lives longer than its settings.

    Raises:
        SettingsError: it is missing or cannot be read, is not UTF-8, not valid YAML, or no mapping; names the file.

    """
    state: tuple[int, ...]
    try:
        found = path.stat()
        state = found.st_mtime_ns, found.st_size, found.st_ino
    except (OSError, ValueError):  # what is wrong with it is said where it is read
        state = ()
    return _read(path, state)


@lru_cache(maxsize=64)
def _read(path: Path, state: tuple[int, ...]) -> dict[str, Any]:
    """The same; `state` tells one content of the file from the next."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 (a safe loader)
    except FileNotFoundError:
        raise SettingsError(f"{path} is missing; set QUANT_CONF_DIR to the folder that holds base.yaml") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}; mend that, or set QUANT_CONF_DIR") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise SettingsError(f"{path} is not UTF-8 (line {line}); save it in that encoding") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise SettingsError(f"{path} is nested too deeply; write it flatter") from None
    except (AttributeError, LookupError, TypeError, ValueError) as error:  # a value that does not suit its !!tag
        raise SettingsError(f"{path} has a value that is not what its tag says: {error}; write it without") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold a mapping of settings, found {type(content).__name__}")
    return content
