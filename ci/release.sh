#!/usr/bin/env bash
# `ci/release.sh check TAG` checks that everything is in place for a release. `ci/release.sh notes TAG` prints its notes.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "FAILED ci/release.sh: $*" >&2; exit 1; }
# Prints a single-line member of Cargo.toml.
member() { sed -n "s/^$1 = \"\(.*\)\"$/\1/p" Cargo.toml | head -n 1; }
# Prints the part of the changelog for a version.
changes() { awk -v heading="## [$1]" '/^## /{on = index($0, heading) == 1; next} on' CHANGELOG.md; }

check() {
    local line address=https://github.com/${GITHUB_REPOSITORY:-OWNER/REPOSITORY}
    line=$(grep -n '^license = ' Cargo.toml | cut -d: -f1)
    [ -n "$repository" ] || fail "Cargo.toml:$line: no repository: add the line repository = \"$address\" below"
    [ -z "${GITHUB_REPOSITORY:-}" ] || [ "${repository%/}" = "$address" ] ||
        fail "Cargo.toml: the repository is $repository, but this is $address"
    [ "$tag" = "v$version" ] || fail "Cargo.toml: the version is $version, but the tag is $tag"
    changes "$version" | grep -q '[^[:space:]]' || fail "CHANGELOG.md: nothing under a heading ## [$version]"
    grep -q "^\.TH .*$version" man/codex-auth.1 || fail "man/codex-auth.1: the .TH line does not name $version"
    echo "release.sh: $tag of $repository, with Rust $rust"
}

notes() {
    changes "$version"
    cat <<END_OF_NOTES

Built with Rust $rust. With this version, \`ci/package.sh TARGET\` builds identical programs from the same source in any folder. To verify
a file: \`gh attestation verify FILE --repo ${repository#https://github.com/}\`.
END_OF_NOTES
}

[ $# = 2 ] || fail 'usage: ci/release.sh check|notes TAG'
tag=$2 version=$(member version) repository=$(member repository) rust=$(member release-rust)
case $1 in
    check | notes) "$1" ;;
    *) fail "unknown: $1" ;;
esac
