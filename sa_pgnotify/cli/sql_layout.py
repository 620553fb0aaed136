"""Lay out SQL for a reader: break long lines where SQL allows it, and put a comment above each part.

What is printed must be what ``create_all`` runs, or reviewing it would prove nothing. So only what
SQL ignores is changed: white space between tokens becomes a line break, a literal is continued on
the next line as the SQL standard allows, and comments are added. The source of a function is a
value that ``check`` compares byte for byte, so it is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["laid_out", "tokens"]

WIDTH = 110
INDENT = "    "

_TOKEN = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)
    | (?P<space>\s+)
    | (?P<dollar>(?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?P=tag))
    | (?P<literal>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')
    | (?P<name>"(?:[^"]|"")*")
    | (?P<word>\w+|.)""",
    re.DOTALL | re.VERBOSE,
)
_BEFORE = {
    "AND",
    "OR",
    "FROM",
    "WHERE",
    "JOIN",
    "SET",
    "THEN",
    "ELSE",
    "WHEN",
    "REFERENCING",
    "EXECUTE",
    "AS",
    "UNION",
    "AFTER",
    "HINT",
    "MESSAGE",
}
"""A line is broken before one of these words if possible."""
_PARTS = (
    (
        r"PERFORM pg_catalog\.set_config\('search_path', 'pg_catalog",
        "Until the end of this statement, names are looked up in pg_catalog.",
    ),
    (r"FOR tenth IN", "One installation at a time."),
    (
        r"IF EXISTS \(SELECT FROM pg_catalog\.pg_class WHERE oid = target",
        "Refuse what cannot work before anything is changed.",
    ),
    (
        r"former := ",
        "The functions that triggers of this table have run so far, and their channels.",
    ),
    (r"body := \$", "The source of the trigger function."),
    (
        r"(?:EXECUTE pg_catalog\.concat\(')?CREATE OR REPLACE FUNCTION",
        "The trigger function. Replacing it locks no table.",
    ),
    (
        r"(?:EXECUTE pg_catalog\.concat\(')?COMMENT ON FUNCTION",
        "What the function was made from, for check() and Alembic.",
    ),
    (
        r"(?:EXECUTE pg_catalog\.concat\(')?REVOKE EXECUTE ON FUNCTION",
        "Only its triggers may run it.",
    ),
    (
        r"IF (?:NOT )?EXISTS .*tgname = '(sa_pgnotify_\w+)'",
        "The trigger {0}, if it is not as it should be. That locks the table.",
    ),
    (r"FOREACH unused IN", "Functions that no trigger runs any more."),
)
"""How each part of the statement begins, and the comment above it."""


def tokens(sql: str) -> Iterator[tuple[str, str]]:
    """Yield the tokens of SQL text, each with its kind: comment, space, dollar, literal, name or
    word."""
    for found in _TOKEN.finditer(sql):
        kind = found.lastgroup if found.lastgroup != "tag" else "dollar"
        assert kind is not None
        yield kind, found[0]


def laid_out(sql: str) -> str:
    """Return a statement with its lines broken and its parts commented, without changing its
    meaning."""
    outer = re.fullmatch(r"(DO )(\$\w+\$)(.*)(\$\w+\$;?\s*)", sql, re.DOTALL)
    if outer is None or outer[2] != outer[4].rstrip().rstrip(";"):
        return _broken(sql)
    # the body of DO is a value too, but it is not stored
    return f"{outer[1]}{outer[2]}{_broken(outer[3])}{outer[4]}"


@dataclass
class _Line:
    """A line of the text: its indentation, and the pieces between which it may be broken.

    :ivar pieces: runs of tokens without white space between them.
    :ivar depths: how many parentheses are open before each piece.
    """

    indent: str = ""
    pieces: list[list[tuple[str, str]]] = field(default_factory=lambda: [[]])
    depths: list[int] = field(default_factory=lambda: [0])

    def __str__(self) -> str:
        return " ".join("".join(text for _, text in piece) for piece in self.pieces)


def _broken(sql: str) -> str:
    lines, depth = [_Line()], 0
    for kind, text in tokens(sql):
        if kind == "space":
            if "\n" in text:
                lines += [_Line() for _ in range(text.count("\n"))]
                lines[-1].indent = text.rpartition("\n")[2]
                lines[-1].depths = [depth]
            elif lines[-1].pieces == [[]]:
                lines[-1].indent += text
            else:
                lines[-1].pieces.append([])
                lines[-1].depths.append(depth)
            continue
        depth += (text == "(") - (text == ")") if kind == "word" else 0
        lines[-1].pieces[-1].append((kind, text))
    return "\n".join(part for line in lines for part in [*_comment(line), _wrapped(line)])


def _comment(line: _Line) -> Iterator[str]:
    text = str(line)
    for pattern, comment in _PARTS:
        if found := re.match(pattern, text):
            yield f"{line.indent}-- {comment.format(*found.groups())}"
            return


def _wrapped(line: _Line) -> str:
    if len(line.indent) + len(str(line).partition("\n")[0]) <= WIDTH or any(
        kind == "comment" for kind, _ in line.pieces[0]
    ):
        return line.indent + str(line)
    shown: list[str] = []
    begin, indent = 0, line.indent
    while begin < len(line.pieces):
        end = _end(line, begin, WIDTH - len(indent))
        text = " ".join(
            _piece(piece, WIDTH - len(indent), indent) for piece in line.pieces[begin:end]
        )
        shown.append(indent + text)
        begin, indent = end, line.indent + INDENT
    return "\n".join(shown)


def _end(line: _Line, begin: int, width: int) -> int:
    """Return the piece before which to break the line that starts with the piece ``begin``: the one
    with the fewest open parentheses in the last two thirds of the width."""
    length, fits = 0, begin + 1
    candidates: list[tuple[int, bool, int]] = []
    for number in range(begin, len(line.pieces)):
        piece = "".join(text for _, text in line.pieces[number])
        length += len(piece.partition("\n")[0]) + (number > begin)
        if number > begin and (length > width or piece.startswith("$")):
            break
        fits = number + 1
        if length > width // 3 and fits < len(line.pieces):
            following = "".join(text for _, text in line.pieces[fits])
            candidates.append((line.depths[fits], following not in _BEFORE, -fits))
    else:
        return len(line.pieces)
    return -min(candidates)[2] if candidates else fits


def _piece(piece: list[tuple[str, str]], width: int, indent: str) -> str:
    text = ""
    for number, (kind, token) in enumerate(piece):
        length = len(text) + sum(len(rest) for _, rest in piece[number:])
        text += (
            _continued(token, indent, len(text)) if kind == "literal" and length > width else token
        )
    return text


def _continued(literal: str, indent: str, offset: int) -> str:
    """Return a literal in several parts on lines of their own, which PostgreSQL concatenates.

    :param offset: how many characters precede the literal on its line.
    """
    parts: list[str] = []
    line = ""
    for word in re.findall(r"[^ ]* |[^ ]+", literal):
        if line and len(line) + len(word) > WIDTH - len(indent) - (
            len(INDENT) if parts else offset
        ):
            parts.append(line)
            line = ""
        line += word
    return f"'\n{indent}{INDENT}'".join([*parts, line])
