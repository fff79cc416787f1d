# shellcheck shell=bash
# Steps that deploy/up and tests/run share. Sourced by bash with `set -euo pipefail`, from any folder.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
started_at=$SECONDS

say() { printf '\033[1m[%3d s] %s\033[0m\n' $((SECONDS - started_at)) "$*" >&2; }
fail() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }
[ -t 2 ] || say() { printf '[%3d s] %s\n' $((SECONDS - started_at)) "$*" >&2; }

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# The packages of the given lists that are not installed.
missing_packages() {
    local list package
    for list in "$@"; do
        if [ "$list" = web ] && command -v node >/dev/null && command -v npm >/dev/null; then continue; fi
        while read -r package; do
            installed "$package" || echo "$package"
        done < "$top/deploy/packages/$list.txt"
    done | sort -u
}

# Installs what is missing of the given lists; without root it says what that would be, and ends.
install_packages() {
    command -v dpkg-query >/dev/null || fail "this is not Debian: install what deploy/packages/*.txt name, then build with cmake"
    local missing
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        fail "not root: these packages would be installed by
    apt-get install --no-install-recommends $(tr "\n" " " <<< "$missing")
Run it as root, or have them installed and run it again."
    fi
    say "installing $(echo "$missing" | wc -l) packages: $(tr "\n" " " <<< "$missing")"
    export DEBIAN_FRONTEND=noninteractive
    local apt=(apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3)
    "${apt[@]}" update >&2
    # The daemons' PostgreSQL is private to them: on a machine that had none, keep Debian's package
    # from making and starting a cluster of its own.
    if echo "$missing" | grep -q '^postgresql-[0-9]' && ! installed postgresql-common; then
        "${apt[@]}" install --no-install-recommends postgresql-common >&2
        echo "create_main_cluster = false" >> /etc/postgresql-common/createcluster.conf
    fi
    # shellcheck disable=SC2086
    "${apt[@]}" install --no-install-recommends $missing >&2
}

# configure PRESET [cmake options]: only when it was not done, or an option differs. Ninja sees to
# changed CMakeLists.txt by itself.
configure() {
    local preset=$1 option
    shift
    local cache="$top/build/$preset/CMakeCache.txt" needed=0
    [ -f "$top/build/$preset/build.ninja" ] || needed=1
    for option in "$@"; do
        option=${option#-D}
        grep -q "^${option%%=*}:[A-Z]*=${option#*=}$" "$cache" 2>/dev/null || needed=1
    done
    [ $needed = 1 ] || return 0
    say "configuring $preset"
    (cd "$top" && cmake --preset "$preset" "$@") >&2
}

# build PRESET [targets]
build() {
    local preset=$1
    shift
    say "building $preset with $(nproc) jobs"
    NINJA_STATUS="[%f/%t %es] " nice ninja -C "$top/build/$preset" -j "$(nproc)" "$@" >&2
}

# The web console, into web/dist and build/release/share/web; skipped when nothing of it changed.
build_web() {
    [ -f "$top/web/package.json" ] || return 0
    local oldest="18.19.0" version
    version=$(node --version)
    version=${version#v}
    [ "$(printf '%s\n%s\n' "$oldest" "$version" | sort -V | head -1)" = "$oldest" ] ||
        fail "node $version is too old for the web console, which needs $oldest or newer"
    local installed="$top/web/node_modules/.package-lock.json" share="$top/build/release/share/web"
    if [ ! -f "$installed" ] || [ "$top/web/package-lock.json" -nt "$installed" ]; then
        say "fetching the web console's packages"
        # npm trusts its own list of authorities; a site's own (a filtering proxy's) is in the system's.
        [ ! -f /etc/ssl/certs/ca-certificates.crt ] ||
            export NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}"
        (cd "$top/web" && npm ci --no-audit --no-fund --loglevel=error) >&2
        touch "$installed"
    fi
    local changed
    changed=$(cd "$top" && find web manager/openapi.yaml -path web/node_modules -prune -o -path web/dist -prune -o \
        -path web/src/api/schema.d.ts -prune -o -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
    if [ ! -f "$top/web/dist/index.html" ] || [ "$(cat "$top/web/dist/.sources" 2>/dev/null)" != "$changed" ]; then
        say "building the web console"
        (cd "$top/web" && npm run --silent build) >&2
        echo "$changed" > "$top/web/dist/.sources"
    fi
    if ! cmp -s "$top/web/dist/.sources" "$share/.sources"; then
        mkdir -p "$(dirname "$share")"
        rm -rf "$share.new"
        cp -r "$top/web/dist" "$share.new"
        rm -rf "$share"
        mv "$share.new" "$share"
    fi
}
