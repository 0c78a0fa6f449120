#!/bin/sh
# Installs what the tests use besides the project itself, by the system's package manager, when root; says what is missing when not.
set -eu

missing=""
need() {  # need PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || [ -x "/sbin/$1" ] || missing="$missing $2"
}

need mariadbd mariadb-server
need openrc openrc
need logrotate logrotate
need mbsync isync
need curl curl
need faketime faketime
need strace strace
need dovecot dovecot-imapd
need offlineimap offlineimap3
need neomutt neomutt
need ps procps
need fail2ban-regex fail2ban

[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "not installed, the tests that use them are skipped:$missing" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
# The servers are started by the tests themselves, never by the system.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
apt-get -qq update
# shellcheck disable=SC2086
apt-get -qq install -y --no-install-recommends $missing >/dev/null
