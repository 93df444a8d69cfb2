"""Draws the reference: `python docs/draw_reference.py` writes configuration.md, commands.md and output.schema.json,
from the fields of evohpc/config with their docstrings, from what `--help` prints, and from evohpc/report/documents.py.

With `--check` it writes nothing, and fails if what it would write is not there already.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from made_pages import write_or_check

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent))

from evohpc.cli import evohpc  # noqa: E402
from evohpc.config.search import Config  # noqa: E402
from evohpc.config.site import Site  # noqa: E402
from evohpc.report.documents import json_schema  # noqa: E402

WIDTH = 88
"""Of what `--help` prints, in characters."""

MADE = "<!-- Made by `python docs/draw_reference.py`, from {}. -->\n"

CONFIGURATION = """
# Every key

What a search does is in its [config](#a-search), `configs/*.yaml`; what a cluster wants to be told is in its
[site profile](#a-site-profile), `slurm/*.yaml`. An unknown key, a wrong type or a value out of range is an error that
names the file, the key and the nearest right one. `--set KEY=VALUE` overrides a key of the config, e.g.
`--set search.rounds=3`. Relative paths start at the folder of the file that has them. The default is what holds where
the file says nothing; those of a search are the paper's (arXiv 2302.14838, Table 2 and section 4) where it states them.
"""

COMMANDS = """
# Every command

This is what `--help` prints. Data goes to stdout, all else to stderr. Exit codes: 0 done, 1 failed with one readable
sentence, 2 a wrong command line, 85 asked to stop by a scheduler with more to do, 130 stopped by Ctrl-C.
"""

Schema = Mapping[str, Any]

PLAIN = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}
LIMITS = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}


def configuration() -> str:
    """Return the page of all keys."""
    parts = [MADE.format("the docstrings of evohpc/config"), CONFIGURATION]
    for title, document in (("A search", Config), ("A site profile", Site)):
        schema = document.model_json_schema(mode="serialization")
        parts += [f"\n## {title}\n", *section("", schema, schema["$defs"])]
    return "".join(parts)


def section(under: str, schema: Schema, known: Schema) -> Iterator[str]:
    """Yield the keys of a section, and after them the sections in it.

    Args:
        under: its own name and a dot; '' for a whole document.
        known: the schemas that others name.
    """
    inner: dict[str, tuple[Schema, Schema]] = {}
    for name, field in schema["properties"].items():
        key, part, entry = f"{under}{name}", a_section(field, known), a_section(field.get("items", {}), known)
        if part:
            inner[key] = field, part
            continue
        if entry:
            inner[f"{key}[]"] = {}, entry
        yield f"\n{'####' if under else '###'} `{key}`\n\n{kind(field, known)}{default(field)}\n"
        yield f"\n{prose(field['description'])}\n" if "description" in field else ""
    for key, (field, part) in inner.items():
        texts = dict.fromkeys(one["description"] for one in (part, field) if "description" in one)
        yield f"\n### `{key}`\n" + "".join(f"\n{prose(text)}\n" for text in texts)
        yield from section(f"{key}.", part, known)


def a_section(field: Schema, known: Schema) -> Schema | None:
    """Return the schema of the section that a key holds, if it holds one."""
    for one in (field, *field.get("anyOf", [])):
        found = known.get(one.get("$ref", "").rpartition("/")[2], {})
        if "properties" in found:
            return dict(found)
    return None


def kind(field: Schema, known: Schema) -> str:
    """Return in words what a key takes."""
    if "anyOf" in field:
        return ", or ".join(kind(one, known) for one in field["anyOf"])
    if "$ref" in field:
        return kind(known[field["$ref"].rpartition("/")[2]], known)
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        items = field["items"]
        return "a list of sections" if a_section(items, known) else f"a list, of {kind(items, known)} each"
    if field["type"] == "object":
        return "a mapping"
    limits = [f"{word} {field[limit]:,g}" for limit, word in LIMITS.items() if limit in field]
    plain = "a path" if field.get("format") == "path" else PLAIN[field["type"]]
    return " ".join([plain, " and ".join(limits)]).strip()


def default(field: Schema) -> str:
    """Return in words what holds where a file does not have a key."""
    if "default" not in field:
        return "; must be set"
    value = field["default"]
    return f"; default `{value if isinstance(value, str) and value else json.dumps(value)}`"


def prose(docstring: str) -> str:
    """Return a docstring as Markdown: what is no code in it has no meaning of its own there."""
    parts = re.split(r"(`[^`]*`)", docstring)
    return "".join(part if part.startswith("`") else re.sub(r"([<*_\[\]])", r"\\\1", part) for part in parts)


def commands() -> str:
    """Return the page of all commands."""
    context = click.Context(evohpc, info_name="evohpc", max_content_width=WIDTH, terminal_width=WIDTH)
    parts = [MADE.format("what --help prints"), COMMANDS, shown("evohpc", evohpc, context)]
    for name in evohpc.list_commands(context):
        command = evohpc.get_command(context, name)
        assert command is not None
        inner = click.Context(command, info_name=name, parent=context)
        parts.append(shown(f"evohpc {name}", command, inner))
    return "".join(parts)


def shown(name: str, command: click.Command, context: click.Context) -> str:
    """Return what `--help` of a command prints, under a heading."""
    return f"\n## {name}\n\n```text\n{command.get_help(context)}\n```\n"


def main() -> int:
    """Write, or check, the two pages and the schema."""
    schema = json.dumps(json_schema(), indent=1) + "\n"
    pages = {"configuration.md": configuration(), "commands.md": commands(), "output.schema.json": schema}
    return write_or_check({DOCS / name: text for name, text in pages.items()})


if __name__ == "__main__":
    sys.exit(main())
