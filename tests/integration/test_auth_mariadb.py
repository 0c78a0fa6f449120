"""SQL databases against a real MariaDB."""

from __future__ import annotations


from tests.mariadb import (  # noqa: F401
    MailDatabase,
    MariaDB,
    mail_database,
    mariadb_alone,
    mariadb_server,
    requires_mariadb,
)

pytestmark = requires_mariadb


def test_the_fixture(mail_database: MailDatabase) -> None:  # noqa: F811
    mail_database.add_user("joe@example.org", "secret")
    assert mail_database.execute("SELECT password FROM users") == (("secret",),)


def test_the_fixture_alone(mariadb_alone: MariaDB) -> None:  # noqa: F811
    mariadb_alone.stop()
    mariadb_alone.start()
    assert mariadb_alone.execute("SELECT 1") == ((1,),)
