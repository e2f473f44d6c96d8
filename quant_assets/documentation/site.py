"""MkDocs hook (`hooks` of mkdocs.yml) that rewrites links to code.

The pages link to files of the project, as GitHub shows them. The site has only what is in `docs`.
"""

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)\s#]+)(?:#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Rewrite the links of a page that leave `docs`.

    They lead to the repository if mkdocs.yml names it (`repo_url`); otherwise they become the file's path.

    Raises:
        FileNotFoundError: a link leads to a file that does not exist; names page and link.

    """
    docs = Path(config["docs_dir"]).resolve()
    folder = (docs / page.file.src_uri).parent

    def elsewhere(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(docs):
            return link[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.file.src_uri}: {link[0]} leads to {target}, which does not exist")
        path = target.relative_to(docs.parent).as_posix()
        if config["repo_url"]:
            return f"[{link[1]}]({config['repo_url'].rstrip('/')}/blob/main/{path})"
        return f"`{path}`" if link[1] == target.name else f"{link[1]} (`{path}`)"

    return _LINK.sub(elsewhere, markdown)
