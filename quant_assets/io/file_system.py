"""The file system of a storage, by its URL; what cannot be one is said in one line."""

from typing import Any

import fsspec

from quant_assets.errors import SettingsError


def file_system(url: str, options: dict[str, Any]) -> tuple[Any, str]:
    """The file system of a storage and its folder there.

    Raises:
        SettingsError: the protocol is not known, or what it needs is not installed.

    """
    try:
        return fsspec.core.url_to_fs(url, **options)  # type: ignore[no-any-return]
    except ValueError as error:
        if "://" not in url or url.partition("://")[0] in fsspec.available_protocols():
            raise
        raise SettingsError(
            f"storage {url}: {error}; set QUANT__STORAGE (or `storage`) to a folder, or to a URL such as "
            "s3://bucket/prefix"
        ) from None
    except ImportError as error:
        raise SettingsError(
            f"storage {url}: {error}; install it beside quant-assets, or set QUANT__STORAGE to a folder"
        ) from None
