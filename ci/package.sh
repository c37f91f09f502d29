#!/usr/bin/env bash
# Builds a release in target/dist: an archive, for Linux also a .deb and an .rpm, with the static binary, and an SBOM (CycloneDX), all
# with their SHA-256. Installs the packages and checks them, and builds the crate as from a registry. The argument is a Rust target;
# the default is static Linux on this processor. Needs a C compiler and jq; for the packages cargo-deb with dpkg and
# cargo-generate-rpm with rpm; and root, to install them into a separate root. Uses Lintian, man, bash-completion, zsh and fish for
# more checks if they are installed.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-$(uname -m)-unknown-linux-musl}
dist=$PWD/target/dist
version=$(cargo pkgid --locked)
version=${version##*[@#]}
name=codex-auth-$version-$target
program=codex-auth archive=$name.tar.gz
if [[ $target == *windows* ]]; then program=codex-auth.exe archive=$name.zip; fi
export LC_ALL=C # sort and join must agree
say() { echo "package.sh: $*"; }
fail() { echo "FAILED ci/package.sh: $*"; exit 1; }
skip() { echo "SKIPPED ci/package.sh: $*"; }
has() { command -v "$1" >/dev/null; }

[ -d "$(rustc --print target-libdir --target "$target")" ] || { skip "no Rust target $target here"; exit; }
has jq || { skip 'no jq here'; exit; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Archives and packages are dated by the last commit, not by the build.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH

# The crates linked into the program, with licence and address.
cargo tree --locked --target "$target" --edges normal,no-proc-macro --prefix none --format '{p}|{l}|{r}' |
    sed 's/ (\*)$//; s/|$/|-/' | grep -v '^codex-auth ' | sort -u >"$folder/crates"
rust=$(rustc --version | cut -d' ' -f2)
# The version of the target's C library, which ships with Rust.
musl=$(grep -aom1 '^1\.[0-9]*\.[0-9]*$' < <(strings -a "$(rustc --print target-libdir --target "$target")/self-contained/libc.a" 2>/dev/null) || true)

# The licences require their texts to be distributed with the program. Each text is included once.
third_party() {
    printf '%s\n' 'codex-auth contains the following software. The licence texts come after the list, each once.' ''
    echo "Rust's standard library v$rust, MIT OR Apache-2.0, https://github.com/rust-lang/rust"
    [[ $target != *-musl ]] || echo "musl v$musl, MIT, https://musl.libc.org"
    sed 's/|/, /g' "$folder/crates"
    if [[ $target == *-musl ]]; then
        printf '\n==== musl/COPYRIGHT\n\n'
        cat ci/licenses/musl
    fi
    printf "\n==== Rust's standard library/COPYRIGHT\n\n"
    sed "s/<[^>]*>//g; s/&lt;/</g; s/&gt;/>/g; s/&quot;/\"/g; s/&#\(39\|x27\);/'/g; s/&amp;/\&/g; s/[ \t]*$//" \
        "$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html" | cat -s

    # On Windows, paths have backslashes, and jq ends lines with a carriage return.
    cargo metadata --locked --format-version 1 |
        jq -r '.packages[] | "\(.name) v\(.version)|\(.manifest_path | gsub("\\\\"; "/") | rtrimstr("/Cargo.toml"))"' |
        tr -d '\r' | sort | join -t '|' -o 2.2 "$folder/crates" - | while read -r crate; do
        find "$crate" -type f \( -iname 'licen[sc]e*' -o -iname 'copying*' -o -iname 'notice*' \) | sort
    done | while read -r text; do
        sum=$(cksum <"$text")
        grep -qxF "$sum" "$folder/seen" 2>/dev/null && continue
        echo "$sum" >>"$folder/seen"
        printf '\n==== %s\n\n' "${text#*/registry/src/*/}"
        cat "$text"
    done
}

# Prints what is linked into the program for this target, as CycloneDX 1.5.
bill_of_materials() {
    cut -d'|' -f1 "$folder/crates" | tr -d '\r' >"$folder/linked"
    cargo metadata --locked --format-version 1 --filter-platform "$target" | jq \
        --arg version "$version" --arg target "$target" --arg rust "$rust" --arg musl "$musl" \
        --rawfile linked "$folder/linked" '
        def from_outside($name; $version; $licence; $address):
            {type: "library", name: $name, version: $version, licenses: [{expression: $licence}],
             externalReferences: [{type: "website", url: $address}]};
        ($linked | split("\n")) as $linked
        | [.packages[] | select("\(.name) v\(.version)" | IN($linked[]))
            | {type: "library", name, version, purl: "pkg:cargo/\(.name)@\(.version)", licenses: [{expression: (.license | gsub("/"; " OR "))}]}]
        + [from_outside("rust-std"; $rust; "MIT OR Apache-2.0"; "https://github.com/rust-lang/rust")]
        + (if $target | endswith("-musl") then [from_outside("musl"; $musl; "MIT"; "https://musl.libc.org")] else [] end)
        | {bomFormat: "CycloneDX", specVersion: "1.5", version: 1,
           metadata: {component: {type: "application", name: "codex-auth", version: $version,
               purl: "pkg:cargo/codex-auth@\($version)", properties: [{name: "rust:target", value: $target}]}},
           components: .}'
}

# Collects the documents for archives and packages.
documents() {
    local repository
    mkdir "$dist/doc"
    cp README.md CHANGELOG.md CONTRIBUTING.md "$dist/doc"
    repository=$(cargo metadata --locked --no-deps --format-version 1 |
        jq -r '.packages[] | select(.name == "codex-auth").repository // "" | ltrimstr("https://github.com/")' | tr -d '\r')
    sed "s|OWNER/REPOSITORY|${repository:-OWNER/REPOSITORY}|" SECURITY.md >"$dist/doc/SECURITY.md"
    third_party >"$dist/doc/THIRD-PARTY"
    for text in 'Rich Felker' 'The Rust Standard Library' 'third_party/fiat'; do
        [[ $target != *-musl && $text == Rich* ]] || grep -q "$text" "$dist/doc/THIRD-PARTY" || fail "THIRD-PARTY lacks $text"
    done
}

# Checks that all files linked from the packaged documents are packaged, too.
check_links() {
    local page link
    for page in "$2"/*.md "$2"/docs/*.md; do
        while read -r link; do
            [ -e "$(dirname "$page")/$link" ] || fail "$1: $(basename "$page") links to $link, which does not exist"
        done < <(grep -o '](\([^)#]*\)' "$page" | cut -c3- | grep -v '^https\?:' | sed '/^$/d')
    done
}

# Writes the checksum of a file to FILE.sha256.
checksum() {
    if has sha256sum; then sha256sum "$1"; else shasum -a 256 "$1"; fi >"$1.sha256"
}

# Checks that the crate builds on its own.
check_crate() {
    cargo package --quiet --locked --allow-dirty --no-verify
    tar -xzf "target/package/codex-auth-$version.crate" -C "$folder"
    local target_dir=$PWD/target
    (cd "$folder/codex-auth-$version" && CARGO_TARGET_DIR=$target_dir cargo build --quiet --locked)
    say "the crate builds on its own, $(stat -c %s "target/package/codex-auth-$version.crate") bytes"
}

build_archive() {
    mkdir "$folder/$name"
    mkdir "$folder/$name/docs"
    cp "target/$target/release/$program" "$dist"/doc/* LICENSE-MIT LICENSE-APACHE man/codex-auth.1 "$folder/$name"
    cp docs/*.md docs/*.svg "$folder/$name/docs"
    cp -R completions "$folder/$name"
    find "$folder/$name" -exec touch -d "@$SOURCE_DATE_EPOCH" {} + 2>/dev/null || true
    case $target in
        *windows*) (cd "$folder" && python3 -m zipfile -c "$dist/$archive" "$name") ;;
        *apple*) tar -cf - --uid 0 --gid 0 -C "$folder" "$name" | gzip -9n >"$dist/$archive" ;;
        *) tar -cf - --owner=0 --group=0 --numeric-owner --sort=name --mode=u=rwX,go=rX -C "$folder" "$name" | gzip -9n >"$dist/$archive" ;;
    esac
    (cd "$dist" && checksum "$archive")
    check_archive
}

# Checks that the archive has the name, and the program the path in it, that cargo-binstall expects.
check_archive() {
    local root=$folder/archive place wanted
    mkdir "$root"
    if [[ $archive == *.zip ]]; then
        python3 -m zipfile -e "$dist/$archive" "$root"
    else
        tar -xzf "$dist/$archive" -C "$root"
    fi
    place=$(binstall bin-dir)
    [ -f "$root/$place" ] || fail "no $place in $archive"
    check_links "$archive" "$root/$name"
    wanted=$(binstall pkg-url)
    [ "${wanted##*/}" = "$archive" ] || fail "cargo-binstall looks for $wanted"
    check_program "$archive" "$root/$place"
}

# Prints a template of [package.metadata.binstall], filled in for this version and target.
binstall() {
    sed -n "s/^$1 = \"\(.*\)\"$/\1/p" Cargo.toml | sed -e 's/{ name }/codex-auth/g' -e 's/{ bin }/codex-auth/' \
        -e "s/{ version }/$version/g" -e "s/{ target }/$target/g" \
        -e "s/{ binary-ext }/${program#codex-auth}/" -e "s/{ archive-suffix }/${archive#"$name"}/"
}

# The processor and the system of a Rust target.
machine() { sed -E 's/-.*(linux|darwin|windows).*/ \1/' <<<"$1"; }

# Checks that a program runs and has this version.
check_program() {
    local host said
    host=$(rustc -vV | sed -n 's/^host: //p')
    [ "$(machine "$host")" = "$(machine "$target")" ] || { skip "$1 is for another machine"; return; }
    said=$("$2" --version)
    [ "${said%$'\r'}" = "codex-auth $version" ] || fail "the program of $1 says $said"
    say "$1 holds a program that runs"
}

build_deb() {
    local deb root=$folder/deb
    { has cargo-deb && has dpkg; } || { skip 'the .deb: needs cargo-deb and dpkg'; return; }
    cargo deb --quiet --no-build --no-strip --target "$target" --output "$dist/" >/dev/null
    deb=$(basename "$dist"/*.deb)
    (cd "$dist" && checksum "$deb")
    # The maintainer has no known address, and CHANGELOG.md replaces a Debian changelog. The program depends on no other package,
    # and lintian takes a static position-independent program for a library.
    if has lintian; then
        lintian --allow-root --fail-on error,warning --suppress-tags \
            malformed-contact,no-changelog,wrong-name-for-upstream-changelog,empty-field,shared-library-lacks-prerequisites \
            "$dist/$deb" || fail "lintian rejects $deb"
    else
        skip 'lintian: not installed'
    fi
    [ "$(dpkg --print-architecture)" = "$(dpkg-deb --field "$dist/$deb" Architecture)" ] ||
        { skip "$deb is for another processor"; return; }
    [ "$(id -u)" = 0 ] || { skip "whether $deb installs: needs root"; return; }

    mkdir -p "$root"/var/lib/dpkg/{info,updates} && touch "$root/var/lib/dpkg/status"
    dpkg --root="$root" --log=/dev/null -i "$dist/$deb" >/dev/null
    check_installed "$deb" "$root" vendor-completions
    dpkg --root="$root" --log=/dev/null --purge codex-auth >/dev/null
    check_gone "$deb" "$root"
}

build_rpm() {
    local rpm root=$folder/rpm own=()
    { has cargo-generate-rpm && has rpm; } || { skip 'the .rpm: needs cargo-generate-rpm and rpm'; return; }
    cargo generate-rpm --target "$target" --output "$dist/"
    rpm=$(basename "$dist"/*.rpm)
    (cd "$dist" && checksum "$rpm")
    [ "$(rpm --eval '%{_arch}')" = "${target%%-*}" ] || { skip "$rpm is for another processor"; return; }
    [ "$(id -u)" = 0 ] || { skip "whether $rpm installs: needs root"; return; }

    # Debian's rpm refuses to install packages otherwise.
    [ ! -e /etc/debian_version ] || own=(--force-debian)
    mkdir "$root"
    rpm "${own[@]}" --root "$root" --install "$dist/$rpm"
    check_installed "$rpm" "$root" site-functions
    rpm "${own[@]}" --root "$root" --erase codex-auth
    check_gone "$rpm" "$root"
}

# Checks that a package has installed everything where the system looks for it: program, man page, completions.
check_installed() {
    local root=$2 share=$2/usr/share zsh=$2/usr/share/zsh/$3 found
    check_program "$1" "$root/usr/bin/codex-auth"
    [ -s "$share/bash-completion/completions/codex-auth" ] || fail "$1 has no completions for bash"
    [ -s "$share/fish/vendor_completions.d/codex-auth.fish" ] || fail "$1 has no completions for fish"
    [ -s "$zsh/_codex-auth" ] || fail "$1 has no completions for zsh"
    [ -s "$share/doc/codex-auth/THIRD-PARTY" ] || fail "$1 lacks the licences of its crates"
    check_links "$1" "$share/doc/codex-auth"
    if has man; then
        MANPATH=$share/man man --where codex-auth >/dev/null || fail "man does not find the man page of $1"
    else
        skip 'whether man finds the man page: man is not installed'
    fi
    if [ -r /usr/share/bash-completion/bash_completion ]; then
        # shellcheck disable=SC2016
        XDG_DATA_DIRS=$share bash -c '. /usr/share/bash-completion/bash_completion
            __load_completion codex-auth && complete -p codex-auth' >/dev/null || fail "bash finds no completions of $1"
    else
        skip 'whether bash finds the completions: bash-completion is not installed'
    fi
    if has zsh; then
        zsh -fc "fpath=($zsh \$fpath); autoload -U compinit; compinit -D; [[ \$_comps[codex-auth] = _codex-auth ]]" ||
            fail "zsh finds no completions of $1"
    else
        skip 'whether zsh finds the completions: zsh is not installed'
    fi
    if has fish; then
        found=$(HOME=$folder PATH=$root/usr/bin:$PATH XDG_DATA_DIRS=$share fish -c 'complete -C "codex-auth logi"')
        [[ $found == login* ]] || fail "fish finds no completions of $1"
    else
        skip 'whether fish finds the completions: fish is not installed'
    fi
    say "$1 installs, and its files are found"
}

check_gone() {
    [ -z "$(cd "$2" && find . -not -type d -path '*codex-auth*' -not -path './var/*')" ] || fail "$1 leaves a file behind"
    say "$1 uninstalls cleanly"
}

rm -rf "$dist"
mkdir -p "$dist"
[ "$rust" = "$(sed -n 's/^release-rust = "\(.*\)"$/\1/p' Cargo.toml)" ] || say "Rust $rust is not the one for releases, so the bytes differ"
documents
CARGO_ENCODED_RUSTFLAGS=$(ci/flags.sh "$target") cargo build --quiet --locked --release --target "$target"
build_archive
bill_of_materials >"$dist/$name.cdx.json"
(cd "$dist" && checksum "$name.cdx.json")
if [[ $target == *-linux-musl ]]; then
    build_deb
    build_rpm
    check_crate
fi
rm -r "$dist/doc"
ls -l "$dist"
