#!/usr/bin/env bash
# Installs what is missing, and only that: .ci/setup.sh build|fax|test
#   build  what compiling needs (a C++ compiler and cmake for the Lua VM, a C compiler for SQLite and cryptography)
#   fax    what compiling strowger-fax needs besides (pictures of fax, and clang to read the headers of the fax library)
#   test   what the tests need besides: other telephones and load generators, database servers, sound tools, and
#          Python with virtual environments for clients of the Manager and the API (tests/clients/install.sh installs these)
# On Debian and its relatives by apt-get, as root or with sudo; elsewhere it names what is missing.
set -euo pipefail

# program:package; a program is looked for on PATH and where servers are usually kept.
case ${1:-} in
  build) needs="cc:gcc c++:g++ cmake:cmake make:make pkg-config:pkg-config" ;;
  fax) needs="libtiff-4.pc:libtiff-dev libjpeg.pc:libjpeg-dev libclang.so:libclang-dev" ;;
  test) needs="sipp:sip-tester baresip:baresip-core mariadbd:mariadb-server postgres:postgresql sox:sox espeak-ng:espeak-ng
    sqlite3:sqlite3 python3:python3 ensurepip:python3-venv curl:curl tiffcp:libtiff-tools linphonec:linphone-cli sipsak:sipsak svwar:sipvicious
    kamailio:kamailio setpriv:util-linux prlimit:util-linux" ;;
  *) echo "usage: .ci/setup.sh build|fax|test" >&2; exit 2 ;;
esac

have() {
  case $1 in
    *.pc) pkg-config --exists "${1%.pc}"; return ;;
    ensurepip) python3 -c 'import ensurepip' 2>/dev/null; return ;;
    libclang.so) compgen -G '/usr/lib/llvm-*/lib/libclang.so' >/dev/null; return ;;
  esac
  command -v "$1" >/dev/null && return
  local path
  for path in /usr/sbin/"$1" /usr/libexec/"$1" /usr/lib/postgresql/*/bin/"$1"; do
    [ -x "$path" ] && return
  done
  return 1
}

missing=()
for need in $needs; do
  have "${need%%:*}" || missing+=("${need##*:}")
done
if [ "${1}" = build ] && ! command -v cargo >/dev/null; then
  echo "cargo is missing: install Rust 1.95 or newer" >&2
  exit 1
fi
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || { echo "please install: ${missing[*]}" >&2; exit 1; }
as_root=()
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null || { echo "not root and no sudo; please install: ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi

echo "installing: ${missing[*]}"
# The packages of database servers start a server of their own, which nobody here needs: Debian's policy script keeps
# them from it for the time of the installation, unless the machine has such a policy already.
policy=/usr/sbin/policy-rc.d
made_policy=no
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod +x "$policy"
  made_policy=yes
fi
clean_up() { [ "$made_policy" = no ] || "${as_root[@]}" rm -f "$policy"; }
trap clean_up EXIT

apt_install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}
# The package lists may be old or absent: they are fetched when the first try fails.
log=$(mktemp)
if ! apt_install >"$log" 2>&1; then
  { "${as_root[@]}" apt-get update -q && apt_install; } >"$log" 2>&1 || { tail -30 "$log" >&2; exit 1; }
fi
rm -f "$log"

# Nor are they to start with the machine.
for service in mariadb postgresql; do
  case " ${missing[*]} " in *" $service"*)
    "${as_root[@]}" systemctl disable "$service" >/dev/null 2>&1 || true ;;
  esac
done
