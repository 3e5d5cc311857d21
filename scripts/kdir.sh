#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# kdir.sh RELEASE OUT: makes OUT/obj, a KDIR for building Rust modules against the stock kernel RELEASE.
#
# Debian's headers packages carry no Rust metadata. This regenerates only the kernel's rust/ folder from the matching
# linux-source package, with the headers' own .config and the very rustc that built the kernel, which yields the
# symbols and crate hashes of the stock kernel. Nothing is written into the installed headers.
# Documentation/compat.md has the reasons; exit code 3 means "this kernel can't be built for here" and the line says why.
set -euo pipefail
release=$1
out=$(realpath -m "$2")

refuse() { echo "kdir: kernel $release skipped: $*" >&2; exit 3; }

headers=/usr/src/linux-headers-$release
[ -d "$headers" ] || refuse "its headers are missing; install linux-headers-$release"
common=$(sed -n 's,^include \(.*\)/Makefile$,\1,p' "$headers/Makefile")
[ -d "$common" ] || refuse "the common headers are missing; install $(basename "$common")"
for tool in rustc:rustc bindgen:bindgen rustfmt:rustfmt bc:bc python3:python3 xz:xz-utils; do
    command -v "${tool%%:*}" >/dev/null || refuse "${tool%%:*} is missing; install ${tool##*:}"
done
want=$(sed -n 's/^CONFIG_RUSTC_VERSION_TEXT="\(.*\)"$/\1/p' "$headers/.config")
have=$(rustc --version)
[ -n "$want" ] || refuse "it was built without CONFIG_RUST"
[ "$want" = "$have" ] || refuse "it was built by '$want' but the rustc here is '$have'"
[ -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library/core" ] || refuse "the core library's source is missing; install rust-src"

# The headers' upstream version picks the tarball, the package version must be the same too.
minor=$(echo "$release" | sed -E 's/^([0-9]+\.[0-9]+).*/\1/')
tarball=/usr/src/linux-source-$minor.tar.xz
[ -f "$tarball" ] || refuse "its source is missing; install linux-source-$minor"
headers_version=$(dpkg-query -W -f '${Version}' "linux-headers-$release")
source_version=$(dpkg-query -W -f '${Version}' "linux-source-$minor")
[ "$headers_version" = "$source_version" ] ||
    refuse "linux-headers-$release is $headers_version but linux-source-$minor is $source_version"

stamp="$headers_version $want $(sha256sum < "$0")"
if [ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ]; then exit 0; fi
echo "kdir: making the Rust metadata of $release (about a minute)"
rm -rf "$out"
mkdir -p "$out/src" "$out/obj"
src=$out/src obj=$out/obj

top=$(basename "$tarball" .tar.xz)
tar -C "$src" --strip-components=1 -xf "$tarball" "$top/rust" "$top/scripts" "$top/.rustfmt.toml" "$top/.clippy.toml" \
    "$top/drivers/base/base.h" "$top/drivers/android"
mv "$src/scripts" "$src/scripts-source"

# The shadow source tree: the packaged headers by link, what they lack from the source package.
# include/uapi is a real folder because rust/ reaches <../../drivers/base/base.h> through it.
cp "$common/Makefile" "$src/Makefile"
cat >> "$src/Makefile" <<'MAKE'
ifeq ($(need-sub-make),)
rust-only: ; $(Q)$(MAKE) $(build)=rust
endif
MAKE
ln -s "$common/arch" "$src/arch"
ln -s "$common/tools" "$src/tools"
mkdir -p "$src/include/uapi" "$src/scripts"
for entry in "$common"/include/*; do
    [ "$(basename "$entry")" = uapi ] || ln -s "$entry" "$src/include/"
done
for entry in "$common"/include/uapi/*; do ln -s "$entry" "$src/include/uapi/"; done
for entry in "$common"/scripts/*; do ln -s "$entry" "$src/scripts/"; done
for entry in "$src"/scripts-source/*; do
    [ -e "$src/scripts/$(basename "$entry")" ] || mv "$entry" "$src/scripts/"
done

# The shadow object tree: copies of what Kbuild may rewrite, links to the rest.
cp -a "$headers/include" "$headers/.config" "$headers/.kernelvariables" "$obj/"
chmod -R u+w "$obj"
ln -s "$headers/Module.symvers" "$headers/arch" "$headers/tools" "$obj/"
[ ! -e "$headers/vmlinux" ] || ln -s "$headers/vmlinux" "$obj/vmlinux"
mkdir -p "$obj/scripts" "$obj/rust"
for entry in "$headers"/scripts/*; do ln -s "$entry" "$obj/scripts/"; done
# Newer than .config: keeps Kbuild from running syncconfig.
touch "$obj/include/config/auto.conf.cmd" "$obj/include/config/auto.conf"
printf 'KBUILD_OUTPUT=%s\ninclude %s/Makefile\n' "$obj" "$src" > "$obj/Makefile"

rm -f "$obj/scripts/generate_rust_target" "$obj/scripts/target.json"
generator=$src/scripts/generate_rust_target.rs
[ -f "$generator" ] || generator=$src/scripts-source/generate_rust_target.rs
rustc --edition=2021 -O -o "$obj/scripts/generate_rust_target" "$generator"
"$obj/scripts/generate_rust_target" < "$obj/include/config/auto.conf" > "$obj/scripts/target.json"

log=$out/build.log
if ! make -C "$src" O="$obj" -j"$(nproc)" rust-only > "$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "kdir: rust/ of $release did not build; the whole log is $log" >&2
    exit 1
fi
cp "$src/rust/bindgen_parameters" "$obj/rust/"
echo "$stamp" > "$out/stamp"
