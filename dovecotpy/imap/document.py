"""Writes docs/extensions.md: `python -m dovecotpy.imap.document > docs/extensions.md`.

What is announced comes from the table of commands; this table says of each extension where it is described, made
and tested.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import dovecotpy.imap.session  # noqa: F401 - fills the tables
from dovecotpy.imap.registry import REQUIRES

INTRODUCTION = """\
# Extensions of IMAP

What CAPABILITY tells after login, generated from the code. An extension is announced when all of it is served; each can be
switched off by its name in `imap_disabled_extensions`, and those that need it go with it. `imap_capability` replaces the list, or,
behind a `+`, adds to it.

| capability | RFC | announced | code | tests |
|---|---|---|---|---|"""

OUTRODUCTION = """\
Before login: `IMAP4rev1`, `IMAP4rev2`, `LITERAL+`, `SASL-IR` (RFC 4959), `ID`, `LANGUAGE`, `STARTTLS`, `LOGINDISABLED` and the mechanisms (`AUTH=…`), see
`dovecotpy/login/policy.py`.

## Where the next one goes

A command is a module in `dovecotpy/imap/commands/`; the tables of what commands take by name are listed in
`dovecotpy/imap/registry.py`. An extension of several of these is declared by `registry.extension`, and needs its line in
`dovecotpy/imap/document.py`."""

COMMANDS = "imap/commands/"
TRANSCRIPTS = "protocol/imap/"


class Extension(NamedTuple):
    """One capability."""

    rfc: str
    code: tuple[str, ...]
    """paths in dovecotpy/, most telling first"""
    tests: tuple[str, ...]
    """paths in tests/"""
    when: str = ""
    """the condition; empty: always"""


def _transcripts(*names: str) -> tuple[str, ...]:
    return tuple(f"{TRANSCRIPTS}{name}.txt" for name in names)


_THREAD = (COMMANDS + "thread.py", "search/thread.py")

EXTENSIONS: dict[str, Extension] = {
    "APPENDLIMIT": Extension(
        "7889",
        ("imap/status_items.py", COMMANDS + "append.py"),
        _transcripts("append_limit", "append_no_limit", "list_status", "rfc7889"),
        "with its value, where mail_max_message_size is set",
    ),
    "BINARY": Extension(
        "3516",
        ("imap/items.py", "imap/text.py", COMMANDS + "append.py"),
        _transcripts("binary", "binary_append"),
    ),
    "CATENATE": Extension(
        "4469",
        ("imap/catenate.py", "imap/url.py", COMMANDS + "append.py"),
        (*_transcripts("catenate"), "unit/imap/test_imap_url.py"),
    ),
    "CHILDREN": Extension("3348", ("imap/listing.py",), _transcripts("list")),
    "COMPRESS=DEFLATE": Extension(
        "4978",
        ("mail/compression.py", "mail/runner.py", COMMANDS + "compress.py"),
        ("unit/mail/test_mail_compression.py", *_transcripts("compress")),
    ),
    "CONDSTORE": Extension(
        "7162", ("imap/view.py", COMMANDS + "store.py"), _transcripts("condstore", "rfc7162")
    ),
    "CREATE-SPECIAL-USE": Extension(
        "6154",
        (COMMANDS + "hierarchy.py", "storage/annotations.py"),
        _transcripts("create_special_use", "rfc6154"),
    ),
    "ENABLE": Extension(
        "5161", (COMMANDS + "enable.py", "imap/dialect.py"), _transcripts("any_state", "rfc5161")
    ),
    "ESEARCH": Extension("4731", ("imap/returns.py",), _transcripts("search_return", "rfc4731")),
    "ESORT": Extension(
        "5267", ("imap/returns.py", COMMANDS + "sort.py"), _transcripts("sort_return", "rfc7162")
    ),
    "ID": Extension("2971", (COMMANDS + "identify.py",), _transcripts("identify")),
    "IDLE": Extension("2177", (COMMANDS + "idle.py", "imap/session.py"), _transcripts("idle")),
    "IMAP4rev1": Extension("3501", ("imap/session.py",), ("protocol/imap",)),
    "IMAP4rev2": Extension(
        "9051",
        ("imap/dialect.py", "imap/names.py", "imap/wire/revision.py"),
        _transcripts("rev2", "utf8_names"),
    ),
    "INPROGRESS": Extension("9585", ("imap/conversation.py",), ("protocol/test_imap_session.py",)),
    "FILTERS": Extension("5466", ("imap/keys.py", COMMANDS + "metadata.py"), _transcripts("filters")),
    "I18NLEVEL=1": Extension(
        "5255",
        ("message/collation.py", "search/keys.py"),
        (*_transcripts("search", "sort"), "unit/search/test_search_keys.py"),
    ),
    "LANGUAGE": Extension(
        "5255",
        ("imap/wire/language.py", COMMANDS + "language.py"),
        (*_transcripts("language"), "unit/login/test_login_imap.py"),
        "also before login",
    ),
    "LIST-EXTENDED": Extension(
        "5258",
        ("imap/list_options.py", "imap/listing.py"),
        _transcripts("list_extended", "list_childinfo", "list_recursive", "list_disabled"),
    ),
    "LIST-METADATA": Extension("9590", ("imap/list_options.py",), _transcripts("list_metadata")),
    "LIST-STATUS": Extension("5819", ("imap/list_options.py",), _transcripts("list_status", "rfc5819")),
    "LITERAL+": Extension("7888", ("imap/wire/command.py",), ("unit/imap/test_imap_command_parser.py",)),
    "LITERAL-": Extension(
        "7888", ("imap/wire/command.py",), _transcripts("literals"), "where `LITERAL+` is switched off"
    ),
    "METADATA": Extension(
        "5464",
        (COMMANDS + "metadata.py", "imap/metadata.py", "storage/annotations.py"),
        (*_transcripts("metadata", "metadata_limits"), "unit/storage/test_storage_annotations.py"),
    ),
    "MOVE": Extension("6851", (COMMANDS + "move.py",), _transcripts("move", "rfc6851")),
    "MULTIAPPEND": Extension("3502", (COMMANDS + "append.py",), _transcripts("append_many")),
    "NAMESPACE": Extension("2342", (COMMANDS + "namespace.py",), _transcripts("any_state")),
    "OBJECTID": Extension(
        "8474",
        ("storage/objectid.py", "imap/fetch_items.py", "imap/status_items.py"),
        _transcripts("objectid", "rfc8474"),
    ),
    "PARTIAL": Extension("9394", ("imap/partial.py", "imap/returns.py"), _transcripts("partial")),
    "PREVIEW": Extension(
        "8970", ("imap/fetch_items.py", "message/preview.py"), _transcripts("preview", "rfc8970")
    ),
    "QRESYNC": Extension(
        "7162", ("imap/select_parameters.py", "imap/view.py"), _transcripts("qresync", "rfc7162_qresync")
    ),
    "REPLACE": Extension("8508", (COMMANDS + "replace.py",), _transcripts("replace")),
    "SAVEDATE": Extension(
        "8514", ("imap/fetch_items.py", "imap/keys.py"), _transcripts("savedate", "rfc8514")
    ),
    "SAVELIMIT": Extension(
        "9738",
        ("imap/conversation.py", COMMANDS + "copy.py"),
        _transcripts("save_limit"),
        "with its value, where imap_save_limit is set",
    ),
    "SEARCH=FUZZY": Extension("6203", ("imap/fuzzy.py", "imap/returns.py"), _transcripts("fuzzy")),
    "SEARCHRES": Extension("5182", ("imap/returns.py",), _transcripts("search_return", "rfc5182")),
    "SORT": Extension("5256", (COMMANDS + "sort.py", "search/sort.py"), _transcripts("sort", "rfc5256_sort")),
    "SORT=DISPLAY": Extension("5957", ("search/sort.py", "search/keys.py"), _transcripts("sort")),
    "SPECIAL-USE": Extension(
        "6154", ("imap/list_options.py", "config/specialuse.py"), _transcripts("special_use", "rfc6154")
    ),
    "STATUS=SIZE": Extension("8438", ("imap/status_items.py",), _transcripts("list_status", "rfc8438")),
    "THREAD=ORDEREDSUBJECT": Extension("5256", _THREAD, _transcripts("thread", "rfc5256_thread")),
    "THREAD=REFERENCES": Extension("5256", _THREAD, _transcripts("thread", "rfc5256_thread")),
    "THREAD=REFS": Extension("draft-ietf-morg-inthread", _THREAD, _transcripts("thread")),
    "UIDBATCHES": Extension(
        "10022",
        (COMMANDS + "uidbatches.py",),
        (*_transcripts("uidbatches"), "protocol/test_imap_uidbatches.py"),
    ),
    "UIDONLY": Extension(
        "9586", ("imap/dialect.py", "imap/view.py"), _transcripts("uidonly", "uidonly_qresync")
    ),
    "UIDPLUS": Extension(
        "4315",
        (COMMANDS + "expunge.py", COMMANDS + "append.py", COMMANDS + "copy.py"),
        _transcripts("expunge", "append", "copy", "rfc4315"),
    ),
    "UNSELECT": Extension("3691", (COMMANDS + "close.py",), _transcripts("select")),
    "UTF8=ACCEPT": Extension(
        "6855",
        ("imap/names.py", "imap/wire/tokens.py", COMMANDS + "append.py"),
        (*_transcripts("utf8_names", "utf8_append"), "unit/imap/test_imap_names.py"),
    ),
    "WITHIN": Extension("5032", ("imap/keys.py", "search/table.py"), _transcripts("within")),
}


def document() -> str:
    """The whole page."""
    rows = [_row(name, each) for name, each in sorted(EXTENSIONS.items())]
    return "\n".join([INTRODUCTION, *rows, "", OUTRODUCTION, ""])


def _row(name: str, each: Extension) -> str:
    when = each.when or "always"
    needed = [f"`{other.decode('ascii')}`" for other in REQUIRES.get(name.upper().encode("ascii"), ())]
    if needed:
        when += ", with " + " and ".join(needed)
    code = ", ".join(f"`{path}`" for path in each.code)
    tests = ", ".join(f"`{path}`" for path in each.tests)
    return f"| `{name}` | {each.rfc} | {when} | {code} | {tests} |"


if __name__ == "__main__":
    sys.stdout.write(document())
