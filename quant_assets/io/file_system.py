"""The file system that a URL of a storage names, by fsspec."""

from collections.abc import Mapping
from typing import Any

import fsspec

from quant_assets.errors import MissingPackageError, SettingsError


def file_system(url: str, options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """The file system of a folder or URL, and the path in it.

    Args:
        url: absolute local folder, or an fsspec URL such as `s3://bucket/prefix`.
        options: passed to fsspec.

    Raises:
        MissingPackageError: the URL needs a package that is not installed.
        SettingsError: the protocol is unknown.

    """
    try:
        opened: tuple[Any, str] = fsspec.core.url_to_fs(url, **dict(options or {}))
    except ValueError as error:
        if "://" not in url or url.partition("://")[0] in fsspec.available_protocols():
            raise
        raise SettingsError(
            f"storage {url}: {error}; set QUANT__STORAGE (or `storage`) to a folder, or to a URL such as "
            "s3://bucket/prefix"
        ) from None
    except ImportError as error:
        protocol = url.partition("://")[0]
        remedy = " (pip install 'quant-assets[s3]')" if protocol in ("s3", "s3a") else ""
        raise MissingPackageError(f"storage {protocol}://…: {error}{remedy}") from None
    return opened
