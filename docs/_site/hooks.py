"""What the site needs to know of the checkout around ``docs/``: the README is its front page, and examples are pages too.

The pages are read in the checkout as well, where a link to a program is a path to it; so the links stay, and are turned here.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent.parent
PAGES = (
    "README.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "benchmarks/README.md",
    "examples/migrations/README.md",
)
PICTURES = ("examples/live_orders/screenshot.png", "benchmarks/plots/*.svg")
PROGRAMS = (
    "examples/*.py",
    "examples/live_orders/*.py",
    "examples/migrations/*.py",
    "examples/migrations/migrations/versions/*.py",
)


def on_files(files: Files, config: Any) -> Files:
    for path in sorted(path for pattern in (*PAGES, *PICTURES) for path in ROOT.glob(pattern)):
        files.append(
            File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
        )
    for path in sorted(path for pattern in PROGRAMS for path in ROOT.glob(pattern)):
        name = path.relative_to(ROOT)
        page = f"# {name}\n\n```python\n{path.read_text()}\n```\n"
        files.append(File.generated(config, name.with_suffix(".md").as_posix(), content=page))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links to programs become links to their pages, and what only the tests read is left out."""
    markdown = re.sub(r"^<!--.*?-->\n", "", markdown, flags=re.DOTALL | re.MULTILINE)
    if page.file.src_uri in PAGES:
        markdown = markdown.replace("](docs/", "](")
        return re.sub(r"(\]\((?!http)[\w./-]+)\.py\)", r"\1.md)", markdown)
    return re.sub(
        r"\]\(\.\./((?:examples|benchmarks)/[\w./-]+?|README|CHANGELOG|SECURITY)\.(?:py|md)([#)])",
        r"](\1.md\2",
        markdown,
    )
