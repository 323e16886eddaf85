#!/usr/bin/env bash
# Puts into the Nix store every file that nix/offline/lock.json and Cargo.lock name: Debian's packages, the Rust toolchain,
# crates. Nothing is trusted for where it comes from: each is known by its hash, and what has another one is refused by name.
#
#   prepare.sh            fill the store
#   prepare.sh --relock   first write lock.json anew, from packages.txt, what apt offers and the toolchain that is here
#
# Wants root (or a store of one's own), nix-bin, busybox-static (for /bin/sh in the sandbox), python3, apt, cargo.
set -euo pipefail
umask 022
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
lock=$here/lock.json
export NIX_CONF_DIR=$here/conf
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

die() {
  printf 'prepare: %s\n' "$@" >&2
  exit 1
}
relock="if that is meant to be: $0 --relock, and read the difference before you commit it"
for program in nix-store nix-hash python3 apt-get dpkg-deb cargo rustc; do
  command -v "$program" > /dev/null || die "there is no $program: apt-get install nix-bin busybox-static python3, and Rust from rustup"
done

nar() { nix-hash --type sha256 --base32 "$1"; }
locked() { python3 -c 'import functools, json, sys
print(functools.reduce(lambda value, key: value[key], sys.argv[2].split("."), json.load(open(sys.argv[1]))))' "$lock" "$1"; }
stored() { [ -e "$(nix-store --print-fixed-path --recursive sha256 "$2" "$1")" ]; }

# What the official packages hold, without what rustup adds.
stage_rust() {
  local from host
  from=$(cd "$root" && rustc --print sysroot)
  host=$("$from/bin/rustc" -vV | sed -n 's/^host: //p')
  mkdir -p "$work/rust/bin" "$work/rust/lib/rustlib/$host"
  cp -a "$from"/bin/{cargo,rustc,rustdoc} "$work/rust/bin/"
  cp -a "$from"/lib/*.so* "$work/rust/lib/"
  cp -a "$from/lib/rustlib/$host/"{lib,bin} "$work/rust/lib/rustlib/$host/"
}

# The seed: one static program that can unpack the rest.
stage_busybox() {
  mkdir "$work/seed"
  (cd "$work/seed" && apt-get download -q busybox-static > "$work/log" 2>&1) ||
    die "apt cannot fetch busybox-static: apt-get update?" "$(tail -n 3 "$work/log")"
  dpkg-deb -x "$work"/seed/busybox-static_*.deb "$work/seed/x"
  install -D -m755 "$work/seed/x/bin/busybox" "$work/busybox/bin/busybox"
}

if [ "${1-}" = --relock ]; then
  stage_rust
  stage_busybox
  # shellcheck disable=SC2046
  apt-cache show $(cat "$here/packages.txt") > "$work/offered"
  python3 - "$here/packages.txt" "$work/offered" "$(nar "$work/busybox")" "$(rustc -V | cut -d ' ' -f 2)" "$(nar "$work/rust")" > "$work/lock" <<'PY'
import json, sys
packages, offered, busybox, version, rust = sys.argv[1:]
best = {}
for paragraph in open(offered).read().split("\n\n"):
    fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
    # Of the main archive: what it holds stays there, the security archive keeps only the newest.
    if "SHA256" in fields and not fields["Filename"].startswith("pool/updates/"):
        best.setdefault(fields["Package"], fields)
missing = [name for name in open(packages).read().split() if name not in best]
if missing:
    sys.exit("prepare: apt does not offer " + " ".join(missing))
debs = [dict(name=name, version=best[name]["Version"], arch=best[name]["Architecture"], sha256=best[name]["SHA256"])
        for name in open(packages).read().split()]
json.dump(dict(debs=debs, busybox=busybox, rust=dict(version=version, hash=rust)), sys.stdout, indent=1)
print()
PY
  mv "$work/lock" "$lock"
  chmod 644 "$lock"
elif [ $# -gt 0 ]; then
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 64
fi

# 1. Debian's packages: those that the store lacks, by one call of apt-get.
mkdir -p "$work/debs"
python3 - "$lock" > "$work/debs.list" <<'PY'
import json, sys
for deb in json.load(open(sys.argv[1]))["debs"]:
    file = f"{deb['name']}_{deb['version'].split(':')[-1]}_{deb['arch']}.deb".replace("~", "-")
    print(deb["name"], deb["version"], deb["sha256"], file)
PY
while read -r name version sha256 file; do
  [ -e "$(nix-store --print-fixed-path sha256 "$sha256" "$file")" ] || echo "$name $version $sha256 $file"
done < "$work/debs.list" > "$work/debs.missing"
if [ -s "$work/debs.missing" ]; then
  mkdir "$work/apt"
  (cd "$work/apt" && awk '{print $1 "=" $2}' "$work/debs.missing" | xargs apt-get download -q > "$work/log" 2>&1) ||
    die "apt does not offer every package that lock.json names (is this Debian 12? apt-get update?):" \
      "$(grep -E '^E:' "$work/log" || tail -n 3 "$work/log")" "$relock"
  while read -r name version sha256 file; do
    mv "$work/apt/${name}"_*.deb "$work/debs/$file"
    [ "$(sha256sum < "$work/debs/$file")" = "$sha256  -" ] ||
      die "the package $name $version is not the one that lock.json names: refused" "$relock"
  done < "$work/debs.missing"
  find "$work/debs" -name '*.deb' -print0 | xargs -0 nix-store --add-fixed sha256 > "$work/log"
fi

# 2. The seed and the toolchain.
if ! stored busybox "$(locked busybox)"; then
  [ -e "$work/busybox" ] || stage_busybox
  [ "$(nar "$work/busybox")" = "$(locked busybox)" ] || die "busybox-static is not the one that lock.json names: refused" "$relock"
  nix-store --add-fixed --recursive sha256 "$work/busybox" > "$work/log"
fi
[ "$(cd "$root" && rustc -V | cut -d ' ' -f 2)" = "$(locked rust.version)" ] ||
  die "the toolchain here is $(rustc -V), lock.json names Rust $(locked rust.version): rustup toolchain install $(locked rust.version)" "$relock"
if ! stored rust "$(locked rust.hash)"; then
  [ -e "$work/rust" ] || stage_rust
  [ "$(nar "$work/rust")" = "$(locked rust.hash)" ] ||
    die "the toolchain calls itself Rust $(locked rust.version), and its files are not those that lock.json names: refused" "$relock"
  nix-store --add-fixed --recursive sha256 "$work/rust" > "$work/log"
fi

# 3. Crates, by the names that nixpkgs' importCargoLock gives them.
(cd "$root" && cargo fetch --locked --quiet) || die "cargo cannot fetch every crate of Cargo.lock"
mkdir "$work/crates"
python3 - "$root/Cargo.lock" "$work/crates" "${CARGO_HOME:-$HOME/.cargo}" > "$work/crates.list" <<'PY'
import glob, hashlib, shutil, sys, tomllib
lock, into, home = sys.argv[1:]
for package in tomllib.load(open(lock, "rb"))["package"]:
    name = f"{package['name']}-{package['version']}"
    if "source" not in package:
        continue
    if "checksum" not in package:
        sys.exit(f"prepare: {name} is not of a registry: refused")
    found = glob.glob(f"{home}/registry/cache/*/{name}.crate")
    good = [f for f in found if hashlib.sha256(open(f, "rb").read()).hexdigest() == package["checksum"]]
    if not good:
        sys.exit(f"prepare: the crate {name} is not the one that Cargo.lock names: refused" if found
                 else f"prepare: there is no file of the crate {name} below {home}/registry/cache")
    to = f"{into}/crate-{name}.tar.gz"
    shutil.copyfile(good[0], to)
    print(to)
PY
xargs nix-store --add-fixed sha256 < "$work/crates.list" > "$work/log"
echo "prepare: $(wc -l < "$work/debs.list") packages of Debian, $(wc -l < "$work/crates.list") crates, Rust $(locked rust.version)"
