"""The generated page of settings, and the example files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dovecotpy import config
from dovecotpy.config.document import document
from dovecotpy.config.grammar import Assignment, statements
from dovecotpy.config.legacy import AUTH_LEGACY, ROOT_LEGACY
from dovecotpy.config.setting import KINDS_OF_PROCESS, Setting
from dovecotpy.config.table import AUTH_SETTINGS, GROUPS, NAMESPACE_SETTINGS, ROOT_SETTINGS, SOCKET_SETTINGS

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests" / "fixtures" / "config"
EVERY = [setting for _, settings in GROUPS for setting in settings]


def test_the_page_is_not_stale() -> None:
    message = "run: python -m dovecotpy.config.document > docs/settings.md"
    assert (ROOT / "docs" / "settings.md").read_text() == document(), message


def test_the_page_has_every_setting() -> None:
    page = document()
    for setting in EVERY:
        assert f"| `{setting.name}` |" in page
    for old in ROOT_LEGACY:
        assert f"| `{old}` |" in page
    for old in AUTH_LEGACY:
        assert f"| `auth_{old}` |" in page


def test_a_setting_is_declared_once() -> None:
    for _, settings in GROUPS:
        names = [setting.name for setting in settings]
        assert len(names) == len(set(names))
    assert not set(ROOT_SETTINGS) & set(ROOT_LEGACY)
    assert not set(AUTH_SETTINGS) & set(AUTH_LEGACY)


@pytest.mark.parametrize("setting", EVERY, ids=lambda setting: setting.name)
def test_a_declaration_is_whole(setting: Setting) -> None:
    assert setting.meaning.endswith((".", ")", "."))
    assert setting.used_by
    assert set(setting.used_by) <= set(KINDS_OF_PROCESS)
    for protocol in ("imap", "pop3", "lda"):
        value = setting.default_value(protocol)
        assert setting.parse(setting.show(value), protocol) == value


def test_old_names_lead_to_settings() -> None:
    for old, text in ((old, text) for old in ROOT_LEGACY.values() for text in ("no", "1", "yes", "")):
        try:
            changes = old.changes(text)
        except Exception as error:
            assert type(error).__name__ == "StatementError"
            continue
        assert all(change.name in ROOT_SETTINGS for change in changes)


SHOWN = re.compile(r"^\s*#([a-z_]+ =.*)$")
EXAMPLE = {**ROOT_SETTINGS, **AUTH_SETTINGS}


def test_the_example_shows_defaults(tmp_path: Path) -> None:
    lines = (ROOT / "etc" / "dovecot.conf").read_text().splitlines()
    shown = [matched[1] for line in lines if (matched := SHOWN.match(line))]
    assert len(shown) > 40
    for statement in statements("\n".join(shown)):
        assert isinstance(statement, Assignment)
        setting = EXAMPLE[statement.key]
        assert setting.parse(statement.value) == setting.default_value(), statement.key


def test_the_example_is_read_without_a_word() -> None:
    configuration = config.load(str(ROOT / "etc" / "dovecot.conf"))
    assert configuration.warnings == ()
    (auth,) = configuration.servers[0].auths
    assert [passdb.driver for passdb in auth.passdbs] == ["sql"]


def test_the_blocks_that_the_example_shows_can_be_used(tmp_path: Path) -> None:
    text = (ROOT / "etc" / "dovecot.conf").read_text()
    path = tmp_path / "dovecot.conf"
    path.write_text(re.sub(r"(?m)^(\s*)#(?=[a-z}]|  )", r"\1", text))
    (server,) = config.load(str(path)).servers
    assert [passdb.driver for passdb in server.auths[0].passdbs] == ["sql", "passwd-file"]
    assert server.auths[0].sockets[0].client is not None
    assert server.imap.namespaces[0].inbox


def test_the_sql_example_has_known_keys() -> None:
    lines = list(statements((ROOT / "etc" / "dovecot-mysql.conf").read_text()))
    keys = {line.key for line in lines if isinstance(line, Assignment)}
    assert len(keys) == len(lines)
    assert keys == {"driver", "connect", "default_pass_scheme", "password_query", "user_query"}


def test_the_wiki_file_is_read() -> None:
    configuration = config.load(str(FIXTURES / "gentoo-dovecot.conf"))
    (server,) = configuration.servers
    settings = server.imap.settings
    assert settings.text("mail_location") == "maildir:/var/spool/postfix/virtual/%d/%n"
    assert settings.number("first_valid_uid") == 97
    assert settings.words("mail_access_groups") == ("mail",)
    assert settings.flag("mail_debug")
    assert settings.flag("login_process_per_connection")
    assert (settings.number("login_processes_count"), settings.number("login_max_processes_count")) == (
        2,
        128,
    )
    assert server.pop3.settings.text("pop3_uidl_format") == "%08Xu%08Xv"
    (auth,) = server.auths
    assert auth.settings.words("mechanisms") == ("PLAIN",)
    assert (auth.settings.text("user"), auth.settings.number("count")) == ("root", 2)
    assert auth.settings.flag("verbose")
    assert [(passdb.driver, passdb.args) for passdb in auth.passdbs] == [
        ("sql", "/etc/dovecot/dovecot-mysql.conf")
    ]
    assert [userdb.driver for userdb in auth.userdbs] == ["sql"]
    names = ("ssl_disable", "login = NAME", "default_mail_env", "mail_extra_groups")
    assert len(configuration.warnings) == len(names)
    assert all(name in warning for name, warning in zip(names, configuration.warnings, strict=True))


def test_the_wiki_file_without_its_braces_names_the_open_block() -> None:
    path = FIXTURES / "gentoo-dovecot-unclosed.conf"
    lines = path.read_text().splitlines()
    opened = lines.index("  userdb sql {") + 1
    wrong = lines.index("  passdb sql {") + 1
    with pytest.raises(config.ConfigurationError) as raised:
        config.load(str(path))
    (line,) = raised.value.lines
    assert line.startswith(f"Error in configuration file {path} line {wrong}: Unknown section type")
    assert f'"userdb sql {{" of line {opened} is still open' in line


def test_namespaces_and_sockets_have_the_names_of_their_values() -> None:
    from dovecotpy.config.values import Namespace, SocketPath

    assert set(NAMESPACE_SETTINGS) == set(Namespace._fields) - {"type"}
    assert set(SOCKET_SETTINGS) == set(SocketPath._fields)
