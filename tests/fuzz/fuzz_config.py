"""Fuzz config/: any text is a configuration or one clear error with its place; what is read can be dumped and travels unchanged.

    python tests/fuzz/fuzz_config.py [seconds]      mutates the seeds for so long
    python tests/fuzz/fuzz_config.py -max_total_time=600      the same under atheris, where it is installed
    pytest tests/fuzz/fuzz_config.py      a few thousand random texts

A finding is written to crash-config-<number>.conf in the current directory and ends the run with status 1.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from dovecotpy.config import ConfigurationError  # noqa: E402
from dovecotpy.config.dumping import dump  # noqa: E402
from dovecotpy.config.errors import at  # noqa: E402
from dovecotpy.config.grammar import Faulty, Inclusion, statements  # noqa: E402
from dovecotpy.config.loading import configuration_of, read  # noqa: E402
from dovecotpy.config.setting import Setting  # noqa: E402
from dovecotpy.config.source import Placed  # noqa: E402
from dovecotpy.config.table import AUTH_SETTINGS, ROOT_SETTINGS  # noqa: E402
from dovecotpy.config.values import Settings  # noqa: E402
from dovecotpy.config.variables import expand, for_user  # noqa: E402

SLOW = 2.0
"""Seconds that one text of up to 64 KiB may take."""

MAX_TEXT = 65536
FIXTURES = Path(__file__).parents[1] / "fixtures" / "config"
SEEDS = [path.read_text() for path in sorted(FIXTURES.glob("*.conf"))]
PLACE = re.compile(r"Error in configuration file x line ([0-9]+): .+", re.DOTALL)
PIECES = [
    "\n", " ", "\t", "=", "{", "}", "#", '"', "'", "\\", "\\\n", "%", "\0", "\r\n", "é", "\udcff", "[", "!include y\n",
    "auth a {\n", "passdb sql {\n", "userdb x {\n", "socket listen {\n", "client {\n", "protocol imap {\n", "protocol lda {\n",
    "plugin {\n", "namespace private {\n", "server s {\n", "dict {\n", "}\n", "auth = b\n", "login = c\n", "ssl_disable = yes\n",
    "umask = 0777777\n", "listen = ,, ,\n", "auth_passdb = a b\n", "default_mail_env = x\n", "mail_location = y\n", "%9.99HXu",
]  # fmt: skip


def one_input(text: str) -> bool:
    """Read one text; whether it is a configuration. Raises AssertionError, or whatever else is wrong."""
    begun = time.perf_counter()
    good = _read(text)
    assert time.perf_counter() - begun < SLOW, "slow"
    assert len(expand(text[:200], for_user("u@d"))) < 2_000_000
    return good


def _read(text: str) -> bool:
    try:
        draft = read(_placed(text))
    except ConfigurationError as error:
        (line,) = error.lines
        place = PLACE.fullmatch(line)
        assert place, line
        assert 1 <= int(place[1]) <= text.count("\n") + 1, line
        return False
    configuration = configuration_of("x", draft, ("x",))
    dump(configuration, everything=True).encode()
    dump(configuration, everything=False).encode()
    for server in configuration.servers:
        for protocol in (server.imap, server.pop3, server.lda):
            assert Settings.load(protocol.settings.dump()) == protocol.settings
    return True


def _placed(text: str) -> Iterator[Placed]:
    for statement in statements(text):
        if isinstance(statement, Faulty):
            raise at("x", statement.line, statement.text)
        if not isinstance(statement, Inclusion):
            yield Placed("x", statement)


def mutated(chance: random.Random, text: str) -> str:
    """A text like the seed, but not quite."""
    for _ in range(chance.randrange(1, 8)):
        begin = chance.randrange(len(text) + 1)
        end = min(len(text), begin + chance.choice((0, 1, 1, 5, 40, 400)))
        middle = chance.choice(
            (chance.choice(PIECES), text[begin:end] * 2, "", chance.choice(PIECES) * chance.randrange(1, 50))
        )
        text = text[:begin] + middle + text[end:]
    return text[:MAX_TEXT]


def composed(chance: random.Random) -> str:
    """Settings that exist, mostly with values that fit, at root and in blocks that are closed."""
    lines = [_assignment(chance, ROOT_SETTINGS, "") for _ in range(chance.randrange(12))]
    lines += ["auth a {", *(_assignment(chance, AUTH_SETTINGS, "") for _ in range(chance.randrange(5))), "}"]
    lines += [
        _assignment(chance, AUTH_SETTINGS, "auth_"),
        f"protocol {chance.choice(('imap', 'pop3', 'lda'))} {{",
    ]
    lines += [_assignment(chance, ROOT_SETTINGS, "") for _ in range(chance.randrange(5))]
    return "\n".join([*lines, "}"])


def _assignment(chance: random.Random, table: dict[str, Setting], prefix: str) -> str:
    setting = chance.choice(list(table.values()))
    value = chance.choice(("", "x", "yes", "7")) if chance.random() < 0.05 else setting.default
    return f'{prefix}{setting.name} = "{value}"'


def inputs(seed: int) -> Iterator[str]:
    """Texts without end: composed ones, mutated ones, and heaps of pieces."""
    chance = random.Random(seed)
    while True:
        kind = chance.randrange(10)
        if kind < 2:
            yield "".join(chance.choices(PIECES, k=chance.randrange(40)))
        elif kind < 5:
            yield composed(chance)
        else:
            yield mutated(chance, chance.choice([*SEEDS, composed(chance)]))


def run(count: int, seed: int = 1) -> tuple[int, int]:
    """So many inputs; how many were configurations, and how many not."""
    results = [one_input(text) for text, _ in zip(inputs(seed), range(count), strict=False)]
    return results.count(True), results.count(False)


def test_random_configurations() -> None:
    good, bad = run(1500)
    assert good > 50
    assert bad > 50


def _keep(text: str) -> None:
    number = random.randrange(1_000_000)
    Path(f"crash-config-{number}.conf").write_bytes(text.encode("utf-8", "surrogatepass"))


def main(words: list[str]) -> int:
    """Fuzz for so many seconds, or hand over to atheris."""
    if any(word.startswith("-") for word in words):
        return _atheris()
    end = time.monotonic() + float(words[0] if words else 60)
    seed = random.randrange(1 << 30)
    for number, text in enumerate(inputs(seed)):
        if time.monotonic() > end:
            print(f"{number} texts, no finding")
            return 0
        try:
            one_input(text)
        except Exception:
            _keep(text)
            raise
    return 0


def _atheris() -> int:
    import atheris

    def target(data: bytes) -> None:
        one_input(data.decode("utf-8", "surrogateescape"))

    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
