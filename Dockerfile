# The static program and nothing else, run by a user without rights; the logins are in the volume /store.
#
#   docker build -t codex-auth .
#   docker run --rm -it -v codex-auth:/store codex-auth login --device-code
#
# docs/deployment.md says how a container shares a login.
# The tag is pinned, not yet the digest: replace it with TAG@sha256:… as `docker buildx imagetools inspect` prints it. From then
# on Dependabot updates both.
FROM docker.io/library/rust:1.95.0-slim-bookworm AS build
WORKDIR /build
COPY . .
RUN rustup target add "$(uname -m)-unknown-linux-musl" \
    && CARGO_ENCODED_RUSTFLAGS=$(ci/flags.sh) cargo install --locked --path . --target "$(uname -m)-unknown-linux-musl" --root /out --no-track \
    && install -d -m 700 /out/volume/store

FROM scratch
COPY --from=build /out/bin/codex-auth /codex-auth
# A new volume takes the owner and the mode of what it covers. Of /out/volume only what is in it is copied.
COPY --from=build --chown=65532:65532 /out/volume/ /
ENV CODEX_AUTH_HOME=/store
VOLUME /store
USER 65532:65532
ENTRYPOINT ["/codex-auth"]
