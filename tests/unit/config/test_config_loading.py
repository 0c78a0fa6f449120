"""What the lines of a file mean: types, blocks, scopes, old names, includes."""

from __future__ import annotations

from pathlib import Path

import pytest

from dovecotpy import config
from dovecotpy.config import Configuration, ConfigurationError, Server
from dovecotpy.config.values import AuthSocket, Namespace, Passdb, SocketPath, Userdb

AUTH = "auth default {\n}\n"


def load(directory: Path, text: str) -> Configuration:
    path = directory / "dovecot.conf"
    path.write_text(text)
    return config.load(str(path))


def server(directory: Path, text: str) -> Server:
    (only,) = load(directory, text).servers
    return only


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    configuration = load(tmp_path, "")
    (found,) = configuration.servers
    assert configuration.warnings == ()
    assert found.name == "default"
    assert found.protocols == ("imap", "imaps")
    assert found.auths == ()
    assert found.imap.namespaces == ()
    assert found.imap.settings.text("base_dir") == "/var/run/dovecot/"
    assert found.imap.settings.text("login_dir") == "/var/run/dovecot/login"
    assert found.imap.settings.number("first_valid_uid") == 500
    assert found.imap.settings.number("umask") == 0o77
    assert found.imap.settings.flag("login_greeting_capability")
    assert found.imap.settings.text("ssl_min_protocol") == "TLSv1.2"
    assert found.imap.settings.text("log_timestamp") == "%b %d %H:%M:%S "
    assert found.imap.settings.text("mail_executable") == "libexec/dovecot/imap"
    assert found.pop3.settings.text("mail_executable") == "libexec/dovecot/pop3"
    assert found.lda.settings.text("auth_socket_path") == "/var/run/dovecot/auth-master"


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("mail_debug = YES", "mail_debug", True),
        ("umask = 0027", "umask", 0o27),
        ("umask = 027", "umask", 0o27),
        ("first_valid_uid = 0x1F4", "first_valid_uid", 500),
        ("first_valid_uid = 97 # comment", "first_valid_uid", 97),
        ("listen = 1.2.3.4, [::1]:993  *:143", "listen", ("1.2.3.4", "[::1]:993", "*:143")),
        ("mail_access_groups = a,b", "mail_access_groups", ("a", "b")),
        ("valid_chroot_dirs = /a:/b b", "valid_chroot_dirs", ("/a", "/b b")),
        ("mail_plugins =", "mail_plugins", ()),
        ("ssl_min_protocol = tlsv1.3", "ssl_min_protocol", "TLSv1.3"),
        ("lock_method = FLOCK", "lock_method", "flock"),
        ("mail_max_message_size = 50M", "mail_max_message_size", 50 << 20),
        ("mail_max_message_size = 1000", "mail_max_message_size", 1000),
        ('login_greeting = "a  "', "login_greeting", "a  "),
        ("mail_debug = no\nmail_debug = yes", "mail_debug", True),
        ("login_dir = lo", "login_dir", "/var/run/dovecot/lo"),
        ("login_dir = lo\nbase_dir = /x", "login_dir", "/x/lo"),
        ("login_dir = /y\nbase_dir = /x", "login_dir", "/y"),
        ("mail_executable = /usr/libexec/dovecot/imap", "mail_executable", "libexec/dovecot/imap"),
        ("mail_executable = /usr/lib/dovecot/imap", "mail_executable", "libexec/dovecot/imap"),
        ("mail_executable = /usr/bin/imap", "mail_executable", "/usr/bin/imap"),
        ("mail_executable = /usr/libexec/dovecot/imap -x", "mail_executable", "/usr/libexec/dovecot/imap -x"),
    ],
)
def test_a_value(tmp_path: Path, text: str, name: str, value: object) -> None:
    assert server(tmp_path, text).imap.settings.value(name) == value


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("mail_debug = maybe", "Invalid boolean: maybe"),
        ("mail_debug =", "Invalid boolean: "),
        ("first_valid_uid = x", "Invalid number: x"),
        ("first_valid_uid = -1", "Invalid number: -1"),
        ("first_valid_uid = 08", "Invalid number: 08"),
        ("first_valid_uid = 4294967296", "Invalid number: 4294967296"),
        ("first_valid_uid = " + "9" * 5000, "Invalid number: " + "9" * 5000),
        ("mail_max_message_size = 5T", "Invalid size: 5T"),
        ("mail_max_message_size = 9999999999G", "Invalid size: 9999999999G"),
        ("ssl = perhaps", "ssl setting: Invalid value: perhaps (one of no, yes, required)"),
        ("syslog_facility = local8", "Unknown syslog_facility 'local8'"),
        ("first_vaild_uid = 1", "Unknown setting: first_vaild_uid (did you mean first_valid_uid?)"),
        ("zzz = 1", "Unknown setting: zzz"),
        ("auth_zzz = 1", "Unknown setting: auth_zzz"),
        ("Protocols = imap", "Unknown setting: Protocols (did you mean protocols?)"),
        ("}", "Unexpected '}'"),
        ("what", "Expecting '='"),
        ("protocol smtp {", "Unknown protocol name"),
        ("protocol IMAP {", "Unknown protocol name"),
        ("namespace mine {", "Unknown namespace type"),
        ("namespace {", "Unknown namespace type"),
        ("passdb sql {", "Unknown section type"),
        ("plugn {", "Unknown section type (did you mean plugin?)"),
        ("auth a/b {", "Authentication process name must not contain '/'"),
        ("auth {", "Authentication process name can't be ''"),
        ("auth .. {", "Authentication process name can't be '..'"),
        ("auth = mail", "Authentication process name can't be 'mail'"),
        (
            "service imap-login {",
            "Unknown section type (this looks like a configuration of Dovecot 2: the language here is that of 1.x)",
        ),
    ],
)
def test_an_error_on_the_first_line(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, text)
    assert raised.value.lines == (f"Error in configuration file {tmp_path}/dovecot.conf line 1: {error}",)


@pytest.mark.parametrize(
    ("lines", "number", "error"),
    [
        (
            ["auth default {", "}", "auth default {"],
            3,
            "Authentication process already exists with the same name",
        ),
        (["auth default {", "server a {"], 2, "Server section not allowed here"),
        (["server a {", "protocol imap {"], 2, "Protocol section not allowed here"),
        (["protocol imap {", "protocol imap {"], 2, "Protocol section not allowed here"),
        (["plugin {", "auth default {"], 2, "Auth section not allowed here"),
        (["plugin {", "namespace private {"], 2, "Namespace section not allowed here"),
        (["plugin {", "plugin {"], 2, "Plugin section not allowed here"),
        (["plugin {", "dict {"], 2, "Plugin section not allowed here"),
        (["protocol lda {", "auth default {"], 2, "Auth section not allowed here"),
        (["auth default {", "socket talk {"], 2, "Unknown auth socket type"),
        (["auth default {", "socket listen {", "other {"], 3, "Unknown section type"),
        (["auth default {", "socket listen {", "path = /x"], 3, "Unknown setting: path"),
        (["auth default {", "passdb sql {", "denny = yes"], 3, "Unknown setting: denny (did you mean deny?)"),
        (["auth default {", "passdb sql {", "deny = si"], 3, "Invalid boolean: si"),
        (
            ["auth default {", "socket connect {", "}", "socket listen {"],
            4,
            "With connect auth socket no other sockets can be used in same auth section",
        ),
        (
            ["auth default {", "socket listen {", "}", "socket connect {"],
            4,
            "With connect auth socket no other sockets can be used in same auth section",
        ),
    ],
)
def test_an_error_further_down(tmp_path: Path, lines: list[str], number: int, error: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, "\n".join(lines))
    (line,) = raised.value.lines
    assert line.startswith(f"Error in configuration file {tmp_path}/dovecot.conf line {number}: {error}")


def test_the_line_of_the_last_change_of_section_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, "auth default {\n}\n\nprotocol smtp {\n")
    assert raised.value.lines[0].endswith("line 4: Unknown protocol name (section changed at line 2)")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        config.load(str(tmp_path / "none"))
    assert raised.value.lines == (
        f"Can't open configuration file {tmp_path}/none: No such file or directory",
    )


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("auth default {\nuser = root\n", ['"auth default {" of line 1']),
        ("mail_debug = yes\nplugin {\nmail_debug = no\n", ['"plugin {" of line 2']),
        ("auth default {\npassdb sql {\nargs = /x\n}\n", ['"auth default {" of line 1']),
        ("auth default {\npassdb sql {\n", ['"passdb sql {" of line 2', '"auth default {" of line 1']),
    ],
)
def test_an_unclosed_block_is_named_with_its_line(tmp_path: Path, text: str, opened: list[str]) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, text)
    (line,) = raised.value.lines
    assert "Missing '}'" in line
    assert line.endswith(", ".join(opened))


@pytest.mark.parametrize(
    ("lines", "number", "block"),
    [
        (["auth default {", "mail_debug = yes"], 2, '"auth default {" of line 1'),
        (["auth default {", "userdb sql {", "user = root"], 3, '"userdb sql {" of line 2'),
        (["auth default {", "userdb sql {", "passdb sql {"], 3, '"userdb sql {" of line 2'),
        (["auth default {", "protocol imap {"], 2, '"auth default {" of line 1'),
    ],
)
def test_a_missing_brace_is_guessed(tmp_path: Path, lines: list[str], number: int, block: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, "\n".join(lines))
    (line,) = raised.value.lines
    assert f" line {number}: " in line
    assert line.endswith(f" (is '}}' missing? {block} is still open)")


def test_protocol_blocks(tmp_path: Path) -> None:
    found = server(tmp_path, "protocol imap {\nlisten = a\n}\nprotocol pop3 {\nlisten = b\n}\n")
    assert found.imap.settings.words("listen") == ("a",)
    assert found.pop3.settings.words("listen") == ("b",)
    assert found.lda.settings.words("listen") == ("*",)


def test_the_last_line_wins_over_an_earlier_block(tmp_path: Path) -> None:
    found = server(tmp_path, "protocol imap {\nlisten = a\n}\nlisten = c\n")
    assert found.imap.settings.words("listen") == ("c",)


def test_a_block_inside_a_protocol_ends_its_scope_with_a_warning(tmp_path: Path) -> None:
    text = "protocol imap {\nlisten = a\nplugin {\nx = y\n}\nlisten = b\nssl_listen = c\n}\nprotocol pop3 {\nlisten = d\n}\n"
    configuration = load(tmp_path, text)
    (found,) = configuration.servers
    assert found.imap.settings.words("listen") == ("b",)
    assert found.pop3.settings.words("listen") == ("d",)
    assert found.pop3.settings.words("ssl_listen") == ("c",)
    assert (found.imap.plugin, found.pop3.plugin) == ({"x": "y"}, {})
    quirks = [warning for warning in configuration.warnings if "count for all protocols" in warning]
    assert len(quirks) == 1
    assert "line 6" in quirks[0]


def test_general_settings_have_one_value(tmp_path: Path) -> None:
    text = "protocol imap {\nbase_dir = /i\n}\nprotocol pop3 {\nbase_dir = /p\n}\n"
    both = server(tmp_path, text)
    assert both.pop3.settings.text("base_dir") == both.imap.settings.text("base_dir") == "/i"
    assert both.pop3.settings.text("login_dir") == "/i/login"
    alone = server(tmp_path, f"protocols = pop3\n{text}")
    assert alone.imap.settings.text("base_dir") == alone.general.text("base_dir") == "/p"


def test_deliver_takes_any_key(tmp_path: Path) -> None:
    text = "mail_debug = yes\nlog_path = /a\nprotocol lda {\nlog_path = /b\npostmaster_address = p@x\nwhatever = 1\nplugin {\nq = r\n}\numask = 0007\n}\n"
    found = server(tmp_path, text)
    assert found.lda.settings.text("log_path") == "/b"
    assert found.imap.settings.text("log_path") == "/a"
    assert found.lda.settings.flag("mail_debug")
    assert found.lda.settings.text("whatever") == "1"
    assert found.lda.settings.number("umask") == 0o7
    assert (found.lda.plugin, found.imap.plugin) == ({"q": "r"}, {})


def test_an_auth_block(tmp_path: Path) -> None:
    text = """
auth default {
  mechanisms = PLAIN login
  auth_user = nobody
  chroot = a
  passdb SQL {
    args = /etc/x
    deny = yes
  }
  passdb x {
    driver = passwd-file
    pass = yes
    master = yes
  }
  userdb static {
    args = uid=1 gid=2
  }
  socket listen {
    master {
      path = /run/m
      mode = 0660
      user = a
      group = b
    }
    client {
    }
  }
}
"""
    (auth,) = server(tmp_path, text).auths
    assert auth.name == "default"
    assert auth.settings.words("mechanisms") == ("PLAIN", "login")
    assert auth.settings.text("user") == "nobody"
    assert auth.settings.text("chroot") == "/var/run/dovecot/a"
    assert auth.settings.text("executable") == "libexec/dovecot/dovecot-auth"
    assert auth.passdbs == (
        Passdb("sql", "/etc/x", deny=True),
        Passdb("passwd-file", "", pass_=True, master=True),
    )
    assert auth.userdbs == (Userdb("static", "uid=1 gid=2"),)
    master = SocketPath("/run/m", 0o660, "a", "b")
    client = SocketPath("/var/run/dovecot/auth-client", 0o600, "", "")
    assert auth.sockets == (AuthSocket("listen", master, client),)


def test_auth_settings_at_root_go_to_later_blocks_then_to_the_last(tmp_path: Path) -> None:
    text = "auth_verbose = yes\nauth a {\ncount = 2\n}\nauth b {\nverbose = no\n}\nauth_count = 3\n"
    first, second = server(tmp_path, text).auths
    assert (first.settings.flag("verbose"), first.settings.number("count")) == (True, 2)
    assert (second.settings.flag("verbose"), second.settings.number("count")) == (False, 3)


def test_auth_as_an_assignment(tmp_path: Path) -> None:
    text = "auth = default\nauth_mechanisms = plain\nauth_passdb = passwd-file /etc/users\nauth_userdb = static uid=1\n"
    configuration = load(tmp_path, text)
    (auth,) = configuration.servers[0].auths
    assert auth.settings.words("mechanisms") == ("plain",)
    assert auth.passdbs == (Passdb("passwd-file", "/etc/users"),)
    assert auth.userdbs == (Userdb("static", "uid=1"),)
    assert len(configuration.warnings) == 2


def test_servers_begin_as_the_root(tmp_path: Path) -> None:
    text = (
        f"mail_debug = yes\nplugin {{\na = b\n}}\n{AUTH}server one {{\nmail_debug = no\nauth x {{\n}}\n}}\n"
        "login_greeting = late\nserver two {\nbase_dir = /two\nplugin {\na = c\n}\n}\n"
    )
    one, two = load(tmp_path, text).servers
    assert (one.name, two.name) == ("one", "two")
    assert (one.imap.settings.flag("mail_debug"), two.imap.settings.flag("mail_debug")) == (False, True)
    assert (one.imap.settings.text("login_greeting"), two.imap.settings.text("login_greeting")) == (
        "Dovecot ready.",
        "late",
    )
    assert [auth.name for auth in one.auths] == ["x"]
    assert two.auths == ()
    assert (one.imap.plugin, two.imap.plugin) == ({"a": "b"}, {"a": "c"})


def test_namespaces(tmp_path: Path) -> None:
    text = (
        "namespace private {\nseparator = /\ninbox = yes\n}\n"
        "namespace public {\nprefix = Public/\nlocation = maildir:/p\nlist = children\nsubscriptions = no\nhidden = yes\n"
        "alias_for = x/\n}\n"
    )
    found = server(tmp_path, text)
    assert found.imap.namespaces == (
        Namespace("private", "/", "", "", True, False, "yes", True, None),
        Namespace("public", "", "Public/", "maildir:/p", False, True, "children", False, "x/"),
    )
    assert found.pop3.namespaces == found.imap.namespaces


def test_plugin_and_dict_take_any_key(tmp_path: Path) -> None:
    text = "plugin {\nquota = maildir\nx.y = z\n}\nplugin {\nquota = dict\n}\ndict {\na = mysql:/b\n}\n"
    found = server(tmp_path, text)
    assert found.imap.plugin == {"quota": "dict", "x.y": "z"}
    assert found.dicts == {"a": "mysql:/b"}


@pytest.mark.parametrize(
    ("text", "protocol", "name", "value"),
    [
        ("default_mail_env = maildir:/x/%d", "imap", "mail_location", "maildir:/x/%d"),
        ("login_max_logging_users = 7", "imap", "login_max_connections", 7),
        ("ssl_disable = yes", "imap", "ssl", "no"),
        ("ssl_disable = no", "imap", "ssl", "yes"),
        ("ssl = required\nssl_disable = no", "imap", "ssl", "required"),
        ("mail_extra_groups = a,b", "imap", "mail_access_groups", ("a", "b")),
        ("imap_process_size = 5", "imap", "mail_process_size", 5),
        ("imap_process_size = 5", "pop3", "mail_process_size", 256),
        ("pop3_listen = h", "pop3", "listen", ("h",)),
        ("imaps_listen = h", "imap", "ssl_listen", ("h",)),
        (
            "client_workarounds = oe6-fetch-no-newmail outlook-pop3-no-nuls",
            "imap",
            "imap_client_workarounds",
            ("delay-newmail",),
        ),
        ("client_workarounds = outlook-idle oe-ns-eoh", "pop3", "pop3_client_workarounds", ("oe-ns-eoh",)),
        ("mbox_locks = dotlock fcntl", "imap", "mbox_read_locks", ("fcntl",)),
        ("fcntl_locks_disable = yes", "imap", "lock_method", "dotlock"),
        ("mail_max_flag_length = 9", "imap", "mail_max_keyword_length", 9),
        ("mmap_no_write = yes", "imap", "mmap_disable", False),
        ("login = imap", "imap", "login_user", "dovecot"),
    ],
)
def test_an_old_name(tmp_path: Path, text: str, protocol: str, name: str, value: object) -> None:
    configuration = load(tmp_path, text)
    assert configuration.servers[0].protocol(protocol).settings.value(name) == value
    old = text.splitlines()[-1].split()[0]
    assert len([warning for warning in configuration.warnings if old in warning and "line" in warning]) == 1


def test_old_names_warn_once(tmp_path: Path) -> None:
    configuration = load(tmp_path, "login = imap\nlogin = pop3\nssl_disable = no\nssl_disable = no\n")
    assert len(configuration.warnings) == 2


def test_an_old_name_without_a_value_changes_nothing(tmp_path: Path) -> None:
    configuration = load(tmp_path, "mail_extra_groups =\nmail_access_groups = a\n")
    assert configuration.warnings == ()
    assert configuration.servers[0].imap.settings.words("mail_access_groups") == ("a",)


def test_an_old_auth_name(tmp_path: Path) -> None:
    configuration = load(tmp_path, "auth a {\nntlm_use_winbind = yes\n}\n")
    assert configuration.servers[0].auths[0].settings.flag("use_winbind")
    assert "use_winbind" in configuration.warnings[0]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "mail_location = a\ndefault_mail_env = b",
            "Both mail_location and default_mail_env set. Use only one of them.",
        ),
        (
            "default_mail_env = b\nmail_location = a",
            "Both mail_location and default_mail_env set. Use only one of them.",
        ),
        (
            "mail_extra_groups = a\nmail_access_groups = b",
            "Can't set both mail_extra_groups and mail_access_groups",
        ),
        (
            "mail_access_groups = b\nmail_extra_groups = a",
            "Can't set both mail_extra_groups and mail_access_groups",
        ),
        ("mail_debug = no\nclient_workarounds = odd", "Unknown client workaround: odd"),
        (
            "mail_debug = no\nauth_use_cyrus_sasl = yes",
            "auth_use_cyrus_sasl is no more: name mechanisms and a passdb",
        ),
    ],
)
def test_an_old_name_that_cannot_be(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, text)
    assert raised.value.lines == (f"Error in configuration file {tmp_path}/dovecot.conf line 2: {error}",)


def test_what_has_no_effect_yet_warns_once_and_only_when_set(tmp_path: Path) -> None:
    text = "mbox_lock_timeout = 5\nmbox_lock_timeout = 6\nmbox_min_index_size = 0\nauth a {\ncache_size = 9\n}\nplugin {\na = b\n}\n"
    assert load(tmp_path, text).warnings == (
        "Setting mbox_lock_timeout is known but not acted on yet",
        "Setting plugin { } is known but not acted on yet",
        "Setting auth_cache_size is known but not acted on yet",
    )


def test_includes(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "10-a.conf").write_text("login_greeting = a\nmail_debug = yes\n")
    (tmp_path / "conf.d" / "20-b.conf").write_text("login_greeting = b\n")
    (tmp_path / "open.conf").write_text("auth default {\n")
    text = "!include conf.d/*.conf\n!include_try none.conf\n!include_try none/*.conf\n!include open.conf\ncount = 2\n}\n"
    configuration = load(tmp_path, text)
    (found,) = configuration.servers
    assert found.imap.settings.text("login_greeting") == "b"
    assert found.imap.settings.flag("mail_debug")
    assert found.auths[0].settings.number("count") == 2
    assert [Path(file).name for file in configuration.files] == [
        "dovecot.conf",
        "10-a.conf",
        "20-b.conf",
        "open.conf",
    ]


def test_an_error_in_an_included_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("\nwhat\n")
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, "!include a.conf\n")
    assert raised.value.lines == (f"Error in configuration file {tmp_path}/a.conf line 2: Expecting '='",)


def test_a_block_left_open_by_an_included_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("auth default {\n")
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, "!include a.conf\nprotocol imap {\n")
    (line,) = raised.value.lines
    assert f"(section changed in {tmp_path}/a.conf at line 1)" in line
    assert f"of {tmp_path}/a.conf line 1 is still open" in line


def test_a_missing_include(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, "\n!include none.conf\n")
    place = f"Error in configuration file {tmp_path}/dovecot.conf line 2"
    text = f"{place}: Couldn't open include file {tmp_path}/none.conf: No such file or directory"
    assert raised.value.lines == (text,)


def test_include_try_does_not_hide_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, "!include_try d\n")
    assert "Is a directory" in raised.value.lines[0]


def test_includes_that_never_end(tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("!include b.conf\n")
    (tmp_path / "b.conf").symlink_to("a.conf")
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, "!include a.conf\n")
    assert raised.value.lines == (f"Error in configuration file {tmp_path}/a.conf line 1: Recursive include",)


def test_includes_that_multiply_are_bounded(tmp_path: Path) -> None:
    for level in range(12):
        (tmp_path / f"{level}.conf").write_text(f"!include {level + 1}.conf\n" * 4)
    (tmp_path / "12.conf").write_text("")
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, "!include 0.conf\n")
    assert "more than 1000 files" in raised.value.lines[0]


def test_an_endless_file_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load(tmp_path, "!include /dev/zero\n")
    assert "larger than" in raised.value.lines[0]


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "dovecot.conf"
    path.write_bytes(b"login_greeting = gr\xfc\xdf\n")
    (found,) = config.load(str(path)).servers
    assert found.imap.settings.text("login_greeting").encode("utf-8", "surrogateescape") == b"gr\xfc\xdf"
