"""What -n and -a print."""

from __future__ import annotations

from pathlib import Path

from dovecotpy import __version__, config
from dovecotpy.config.table import AUTH_SETTINGS, ROOT_SETTINGS


def dump(directory: Path, text: str, *, everything: bool = False) -> list[str]:
    path = directory / "dovecot.conf"
    path.write_text(text)
    return config.dump(config.load(str(path)), everything).splitlines()


PROGRAMS = [
    "login_executable: libexec/dovecot/imap-login",
    "mail_executable: libexec/dovecot/imap",
    "mail_plugin_dir: lib/dovecot/modules/imap",
]


def test_nothing_but_what_always_shows(tmp_path: Path) -> None:
    first, second, *rest = dump(tmp_path, "")
    assert first == f"# {__version__}: {tmp_path}/dovecot.conf"
    assert second.startswith("# OS: ")
    assert rest == PROGRAMS


def test_a_default_that_is_written_out_is_not_shown(tmp_path: Path) -> None:
    assert (
        dump(tmp_path, "mail_debug = no\nlogin_dir = /var/run/dovecot/login\numask = 0077\n")[2:] == PROGRAMS
    )


def test_what_was_set(tmp_path: Path) -> None:
    text = 'umask = 0027\nlisten = a, b\nmail_debug = YES\nlogin_greeting = "  x "\nvalid_chroot_dirs = /a:/b\ninfo_log_path =\n'
    shown = dump(tmp_path, text)[2:]
    assert shown == [
        "listen: a b",
        "umask: 0027",
        PROGRAMS[0],
        "login_greeting:   x ",
        PROGRAMS[1],
        "valid_chroot_dirs: /a:/b",
        "mail_debug: yes",
        PROGRAMS[2],
    ]


def test_protocols_that_differ(tmp_path: Path) -> None:
    text = "protocols = imap pop3\nprotocol imap {\nlisten = a\n}\n"
    shown = dump(tmp_path, text)[2:]
    assert shown[:4] == ["protocols: imap pop3", "listen(default): a", "listen(imap): a", "listen(pop3): *"]
    assert "login_executable(pop3): libexec/dovecot/pop3-login" in shown
    assert dump(tmp_path, "protocols = pop3\nprotocol pop3 {\nlisten = b\n}\n")[2:4] == [
        "protocols: pop3",
        "listen: b",
    ]


def test_blocks(tmp_path: Path) -> None:
    text = """
namespace private {
  inbox = yes
}
auth default {
  mechanisms = PLAIN
  count = 2
  passdb sql {
    args = /etc/x
    deny = yes
  }
  userdb static {
  }
  socket listen {
    master {
      path = m
      mode = 0660
    }
    client {
      user = u
    }
  }
}
plugin {
  quota = maildir
}
dict {
  a = b
}
protocol lda {
  postmaster_address = p@x
  log_path = /x/y
  odd = z
}
"""
    assert dump(tmp_path, text)[5:] == [
        "namespace:",
        "  type: private",
        "  separator: ",
        "  prefix: ",
        "  location: ",
        "  inbox: yes",
        "  hidden: no",
        "  list: yes",
        "  subscriptions: yes",
        "auth default:",
        "  mechanisms: PLAIN",
        "  count: 2",
        "  passdb:",
        "    driver: sql",
        "    args: /etc/x",
        "    deny: yes",
        "  userdb:",
        "    driver: static",
        "    args: ",
        "  socket:",
        "    type: listen",
        "    client:",
        "      path: /var/run/dovecot/auth-client",
        "      mode: 0600",
        "      user: u",
        "      group: ",
        "    master:",
        "      path: /var/run/dovecot/m",
        "      mode: 0660",
        "      user: ",
        "      group: ",
        "plugin:",
        "  quota: maildir",
        "dict:",
        "  a: b",
        "lda:",
        "  log_path: /x/y",
        "  postmaster_address: p@x",
        "  odd: z",
    ]


def test_plugins_of_one_protocol(tmp_path: Path) -> None:
    text = "protocols = imap pop3\nprotocol imap {\nplugin {\na = b\n}\n}\n"
    assert dump(tmp_path, text)[-2:] == ["plugin(imap):", "  a: b"]


def test_everything_has_every_setting_in_order(tmp_path: Path) -> None:
    shown = dump(tmp_path, "auth default {\n}\n", everything=True)[2:]
    root = [line.partition(":")[0] for line in shown[: len(ROOT_SETTINGS)]]
    assert root == list(ROOT_SETTINGS)
    auth = [line.strip().partition(":")[0] for line in shown[len(ROOT_SETTINGS) + 1 :][: len(AUTH_SETTINGS)]]
    assert auth == list(AUTH_SETTINGS)


def test_the_root_can_be_read_again(tmp_path: Path) -> None:
    text = "umask = 0027\nlisten = a, b\nmail_debug = yes\nvalid_chroot_dirs = /a:/b\nmail_max_message_size = 5M\n"
    before = config.load(_write(tmp_path / "a", text)).servers[0].imap.settings
    lines = dump(tmp_path, text, everything=True)[2:][: len(ROOT_SETTINGS)]
    again = "".join(
        f"{name} = {_quoted(value)}\n" for name, _, value in (line.partition(": ") for line in lines)
    )
    assert config.load(_write(tmp_path / "b", again)).servers[0].imap.settings == before


def _write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    for everything in (False, True):
        shown = dump(tmp_path, "ssl_key_password = geheim\n", everything=everything)
        assert "ssl_key_password: # hidden" in shown
        assert "geheim" not in "\n".join(shown)


def test_servers_are_headed(tmp_path: Path) -> None:
    shown = dump(tmp_path, "server a {\nlogin_greeting = x\n}\nserver b {\n}\n")
    assert [line for line in shown if line.startswith("server")] == ["server a:", "server b:"]


def test_octets_that_are_no_utf8_can_be_printed(tmp_path: Path) -> None:
    path = tmp_path / "dovecot.conf"
    path.write_bytes(b"login_greeting = gr\xfc\xdf\n")
    assert "login_greeting: gr??" in config.dump(config.load(str(path)), False)
