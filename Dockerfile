# The service as an image: no shell needed, not root, nothing written outside the volume. See docs/deployment.md.

FROM rust:1.95.0-bookworm AS build
WORKDIR /source
COPY . .
# Dependencies and objects stay in the builder's cache from one build to the next; only the program leaves it.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin vouchsafe && install -D target/release/vouchsafe /out/vouchsafe

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="Vouchsafe" \
      org.opencontainers.image.description="Eligibility verification: evidence in, eligibility out, a signed token at the gate" \
      org.opencontainers.image.licenses="Apache-2.0"
# Outgoing TLS trusts the system's authorities. The numbers of user and group are fixed: secrets and volumes are given to them.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 vouchsafe \
    && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/vouchsafe --no-create-home --shell /usr/sbin/nologin vouchsafe \
    && install -d -m 0700 -o 10001 -g 10001 /var/lib/vouchsafe
COPY --from=build /out/vouchsafe /usr/local/bin/vouchsafe
COPY LICENSE /usr/share/doc/vouchsafe/LICENSE
ENV VOUCHSAFE_LISTEN=0.0.0.0:8080 \
    VOUCHSAFE_ADMIN_LISTEN=0.0.0.0:9090 \
    VOUCHSAFE_DATABASE=sqlite:/var/lib/vouchsafe/vouchsafe.db \
    VOUCHSAFE_MASTER_KEY_FILE=/run/secrets/vouchsafe_master_key \
    VOUCHSAFE_ANCHOR_FILE=/var/lib/vouchsafe/anchor \
    VOUCHSAFE_LOG=json
USER 10001:10001
WORKDIR /var/lib/vouchsafe
VOLUME /var/lib/vouchsafe
EXPOSE 8080 9090
# It drains for up to 30 s.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["vouchsafe", "ready"]
ENTRYPOINT ["vouchsafe"]
CMD ["serve"]
