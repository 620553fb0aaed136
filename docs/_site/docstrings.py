"""The docstrings are written in reStructuredText, as SQLAlchemy's are; the site is written in Markdown."""

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":\w+:`(~?)([\w.]+)`")
PUBLIC = re.compile(r"sa_pgnotify\.[A-Z]\w*")


def _link(role: re.Match[str]) -> str:
    short, target = role.groups()
    name = f"<code>{target.rpartition('.')[2] if short else target}</code>"
    return (
        f'<autoref identifier="{target}" optional>{name}</autoref>'
        if PUBLIC.fullmatch(target)
        else name
    )


def in_markdown(text: str) -> str:
    text = re.sub(r"^::\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"(?<=[\w`])::(?=\n\s*\n? {4})", ":", text)
    return ROLE.sub(_link, text)


class Docstrings(Extension):
    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = in_markdown(obj.docstring.value)
