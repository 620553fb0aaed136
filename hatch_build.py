"""The text for the package index, made from the README when a distribution is built.

In the checkout, the README's links and pictures are paths. A package index has nothing at these
paths, and the project does not have a web address yet to link to instead. So the text is the README
without its pictures, and with the paths as plain text: they are valid in the source distribution,
which contains the pages.
"""

import re
from pathlib import Path
from typing import Any

try:
    from hatchling.metadata.plugin.interface import MetadataHookInterface
except ImportError:
    # hatchling is installed when a distribution is built; the tests call index_text() without it
    MetadataHookInterface = object  # type: ignore[assignment,misc]

SOURCE = "Paths such as `docs/limits.md` are those of the source distribution.\n\n"


def index_text(readme: str) -> str:
    """Return the README without comments, and without pictures and links that are paths; web
    addresses stay."""
    text = re.sub(r"^<!--.*?-->\n", "", readme, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"^!\[[^\]]*\]\((?!https?://)[^)]*\)\n+", "", text, flags=re.MULTILINE)
    text = re.sub(r"\[([^\]]*)\]\((?!https?://)#[^)]*\)", r"\1", text)
    text = re.sub(r"\[([^\]]*)\]\((?!https?://)([^)#]*)(?:#[^)]*)?\)", r"\1 (`\2`)", text)
    return text.replace("## Documentation\n\n", f"## Documentation\n\n{SOURCE}", 1)


class ReadmeHook(MetadataHookInterface):  # type: ignore[misc]
    """Fill in ``readme``, which pyproject.toml declares as dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the text of the README."""
        text = index_text(Path(self.root, "README.md").read_text(encoding="utf-8"))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
