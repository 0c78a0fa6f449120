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
need node nodejs
need npm npm
need ps procps
need fail2ban-regex fail2ban

# Puts a package of npm where the test that uses it looks for it, beside the environment of the tests.
from_npm() {  # from_npm PACKAGE VERSION
    place="$(dirname "$0")/../.venv/npm"
    [ ! -d "$place/node_modules/$1" ] && [ -d "${place%/npm}" ] && command -v npm >/dev/null 2>&1 || return 0
    mkdir -p "$place"
    (cd "$place" && npm install --silent --no-audit --no-fund --ignore-scripts "$1@$2" >/dev/null 2>&1) ||
        echo "npm could not install $1, the test that uses it is skipped" >&2
}

if [ -z "$missing" ]; then
    from_npm imapflow 1
    exit 0
fi
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
from_npm imapflow 1
