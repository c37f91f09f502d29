# Only the static binary, run by an unprivileged user. Logins are stored in the volume /store.
#
#   docker build -t codex-auth .
#   docker run --rm -it -v codex-auth:/store codex-auth login --device-code
#
# docs/deployment.md explains how containers share a login.
# Only the tag is pinned so far. To pin the digest too, write TAG@sha256:… as printed by `docker buildx imagetools inspect`; Dependabot
# then updates both.
FROM docker.io/library/rust:1.95.0-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN target=$(uname -m)-unknown-linux-musl \
    && rustup target add "$target" \
    && CARGO_ENCODED_RUSTFLAGS=$(ci/flags.sh "$target") cargo install --locked --path . --target "$target" --root /out --no-track \
    && install -d -m 700 /out/volume/store

FROM scratch
COPY --from=build /out/bin/codex-auth /codex-auth
# A new volume gets the owner and mode of the folder it covers. COPY copies the contents of /out/volume, not the folder itself.
COPY --from=build --chown=65532:65532 /out/volume/ /
ENV CODEX_AUTH_HOME=/store
VOLUME /store
USER 65532:65532
ENTRYPOINT ["/codex-auth"]
