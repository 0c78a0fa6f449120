"""Writes docs/settings.md from the table: `python -m dovecotpy.config.document > docs/settings.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from dovecotpy.config import legacy, variables
from dovecotpy.config.setting import KINDS_OF_PROCESS, Kind, Setting, Where
from dovecotpy.config.table import GROUPS

INTRODUCTION = """\
# Settings

Every setting of the configuration file, generated from the table in `dovecotpy/config/table/`. The language is that of Dovecot 1.x:
`key = value` lines, blocks `type [name] {` … `}`, `#` comments, `!include FILE` and `!include_try FILE` (patterns allowed, relative to the file
that includes). What a line of the file sets is in force from that line on: **the last one wins**, also over an earlier `protocol` block.
`dovecotpy -n` shows what differs from the defaults, `dovecotpy -a` everything.

* *yes or no* is just that, in any case. A *number* is decimal, octal with a leading `0` or hexadecimal with `0x`. A *size* is in octets or has
  `K`, `M` or `G` behind it. A *mode* is octal: write its leading `0`. A *list* has blanks between its items unless the text says otherwise.
* **Not yet** means: known, checked, and without effect in this version. The server says so at start where such a setting is set.
* **Ours** means: Dovecot has no such setting.
* The last column names the processes that are given the setting by the master, which reads the file; no other process ever holds it."""


def document() -> str:
    """The whole page."""
    parts = [
        INTRODUCTION,
        *(_group(title, settings) for title, settings in GROUPS),
        _old_names(),
        _variables(),
    ]
    return "\n\n".join(parts) + "\n"


def _group(title: str, settings: tuple[Setting, ...]) -> str:
    head = ["| setting | type | default | meaning | processes |", "|---|---|---|---|---|"]
    places = sorted({setting.where.value for setting in settings if setting.where is not Where.GENERAL})
    intro = f"## {title}\n\nStand in: {'; '.join(places)}."
    return "\n".join([intro, "", *head, *map(_row, settings)])


def _row(setting: Setting) -> str:
    cells = (
        f"`{setting.name}`",
        _type(setting),
        _default(setting),
        _meaning(setting),
        _processes(setting.used_by),
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type(setting: Setting) -> str:
    if setting.kind is Kind.CHOICE:
        return (
            "one of several"
            if len(setting.choices) > 4
            else ", ".join(f"`{choice}`" for choice in setting.choices)
        )
    return f"{setting.kind.value}, {setting.unit}" if setting.unit else setting.kind.value


def _default(setting: Setting) -> str:
    text = f"`{setting.default}`" if setting.default else "empty"
    others = (("POP3", setting.for_pop3), ("deliver", setting.for_lda))
    return text + "".join(f"; {who} `{default}`" for who, default in others if default is not None)


def _meaning(setting: Setting) -> str:
    marks = []
    if not setting.acted_on:
        marks.append("**Not yet.**")
    if setting.ours:
        marks.append("**Ours.**")
    if setting.where is Where.GENERAL:
        marks.append("One value for all protocols.")
    if setting.since:
        marks.append(f"Since {setting.since}.")
    if setting.removed:
        marks.append(f"Gone from Dovecot in {setting.removed}.")
    return " ".join([setting.meaning, *marks])


def _processes(letters: str) -> str:
    return ", ".join(KINDS_OF_PROCESS[letter] for letter in letters)


def _old_names() -> str:
    intro = """\
## Names of older versions

They are taken, with one warning each.

| old name | until | write |
|---|---|---|"""
    rows = [*_old(legacy.ROOT_LEGACY.values(), ""), *_old(legacy.AUTH_LEGACY.values(), "auth_")]
    special = (
        "| `auth = NAME` | | `auth NAME { }`; `auth_…` lines after it belong to it. No warning |",
        "| `login = NAME` | 0.99 | nothing: it has no effect |",
        "| `auth_passdb = DRIVER ARGS` | 0.99 | `passdb DRIVER { args = ARGS }` in an `auth` block |",
        "| `auth_userdb = DRIVER ARGS` | 0.99 | `userdb DRIVER { args = ARGS }` in an `auth` block |",
    )
    return "\n".join([intro, *rows, *special])


def _old(names: Iterable[legacy.Legacy], prefix: str) -> Iterator[str]:
    for old in names:
        instead = f"`{old.instead}`" if old.instead else "nothing: it has no effect"
        yield f"| `{prefix}{old.name}` | {old.until} | {instead} |"


def _variables() -> str:
    intro = """\
## Variables

In values that take them, `%` with a letter stands for a value; `%{long name}` is the same. Between `%` and the letter may stand, in this
order: an offset with a dot (`%2.u`: without the first two characters; negative: from the end), a width (`%3u`: at most three characters;
`%08u`: filled up with zeros to eight, never cut), and modifiers, which work first. `%%` is a percent sign; an unknown variable is nothing.

| variable | long name |
|---|---|"""
    names = [f"| `%{letter}` | `%{{{name}}}` |" for letter, name in variables.NAMES.items()]
    modifiers = [f"| `{letter}` | {meaning} |" for letter, (_, meaning) in variables.MODIFIERS.items()]
    hashed = "| `H` | 32-bit hash in hexadecimal; the width is its modulus and the offset its least number of digits: `%2.256Hu` |"
    head = ["", "| modifier | meaning |", "|---|---|"]
    return "\n".join([intro, *names, *head, *modifiers, hashed])


if __name__ == "__main__":
    sys.stdout.write(document())
