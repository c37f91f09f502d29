#!/usr/bin/env bash
# Checks the dependencies: accepted licences, one TLS stack and no OpenSSL, nothing from outside the registry.
# Needs cargo and jq, and no network beyond what Cargo has already fetched.
set -euo pipefail
cd "$(dirname "$0")/.."

# MPL-2.0 only binds those who change its files. Dependencies of `dirs` use it.
licences='^(MIT|MPL-2\.0|Apache-2\.0|BSD-3-Clause|ISC|Unlicense|Zlib|0BSD|Unicode-3\.0|CDLA-Permissive-2\.0)$'
unwanted='^(openssl|openssl-sys|native-tls|aws-lc-rs|aws-lc-sys|boring|mbedtls|schannel-tls|tokio|async-std|hyper|reqwest)$'
only_once='^(rustls|ring|rustls-webpki|webpki-root-certs|ureq)$'

# Only dependencies linked into the program, on any platform: no dev-dependencies.
linked=$(cargo tree --locked --edges normal,build --target all --prefix none --format '{p}' | sed 's/ (.*//; s/ v/ /' | sort -u)
metadata=$(cargo metadata --locked --format-version 1)
failed=0
complain() { echo "dependencies: $*"; failed=1; }

while read -r name version; do
    [[ $name =~ $unwanted ]] && complain "$name is not allowed"
    fields=$(jq -r --arg n "$name" --arg v "$version" \
        '.packages[] | select(.name == $n and .version == $v) | "\(.source // "here")\t\(.license // "none")"' <<<"$metadata")
    source=${fields%%$'\t'*}
    licence=${fields#*$'\t'}
    [[ $source == here || $source == registry+https://github.com/rust-lang/crates.io-index ]] || complain "$name is from $source"
    # One of the alternatives of an expression is enough; an exception (WITH) only allows more.
    known=no
    for word in $(sed 's/ WITH [^ )]*//g; s/ OR / /g; s|/| |g; s/[()]//g; s/ AND / /g' <<<"$licence"); do
        [[ $word =~ $licences ]] && known=yes
    done
    [ $known = yes ] || complain "$name has the licence $licence"
done <<<"$linked"

while read -r count name; do
    [[ $name =~ $only_once && $count -gt 1 ]] && complain "$name is linked $count times"
done < <(cut -d' ' -f1 <<<"$linked" | sort | uniq -c | sed 's/^ *//')

[ $failed = 0 ] && echo "dependencies: $(wc -l <<<"$linked") packages, all accepted"
exit $failed
