# The conventional way to build muster's images, for machines that reach a registry:
#   docker build --target muster .        docker build --target muster-agent .
# ./ops/image builds the same without pulling anything. The third one, muster-nats, which ops/deploy/compose uses, is
# the vendor's program as it is:
#   docker build --target muster-nats .
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --release --locked --package ops --target "$(rustc -vV | sed -n 's/^host: //p')" \
 && cargo build --profile agent --locked --package edge-agent --target "$(rustc -vV | sed -n 's/^host: //p')" \
 && mkdir -p /out/empty && echo 'muster:x:65532:65532::/var/lib/muster:/sbin/nologin' >/out/passwd \
 && cp target/*/release/muster target/*/agent/muster-agent /out/

FROM nats:2.15.1-scratch AS nats

FROM scratch AS muster-nats
COPY --from=build /out/passwd /etc/passwd
COPY --from=nats /nats-server /usr/bin/nats-server
USER 65532:65532
ENV PATH=/usr/bin
EXPOSE 4222
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/nats-server"]
CMD ["--config", "/etc/nats/nats.conf"]

FROM scratch AS muster-agent
COPY --from=build /out/passwd /etc/passwd
COPY --from=build /out/muster-agent /usr/bin/muster-agent
COPY --from=build --chown=65532:65532 /out/empty /var/lib/muster-agent
USER 65532:65532
WORKDIR /var/lib/muster-agent
ENV PATH=/usr/bin MUSTER_AGENT_CONFIG=/etc/muster/agent.toml NO_COLOR=1
STOPSIGNAL SIGTERM
# Whether its loop answers: an agent that hangs still has a socket that takes connections.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/bin/muster-agent", "status", "--running"]
ENTRYPOINT ["/usr/bin/muster-agent"]
CMD ["run"]

FROM scratch AS muster
COPY --from=build /out/passwd /etc/passwd
COPY --from=build /out/muster /usr/bin/muster
COPY --from=build --chown=65532:65532 /out/empty /var/lib/muster
COPY --from=build --chown=65532:65532 /out/empty /tmp
USER 65532:65532
WORKDIR /var/lib/muster
ENV PATH=/usr/bin MUSTER_NODE_CONFIG=/etc/muster/node.toml NO_COLOR=1
EXPOSE 7400 7500
STOPSIGNAL SIGTERM
# Whether it lives, not whether it is ready: a node that repairs its log, or has no quorum, must not be ended for it. Who
# sends operators to it asks /health/api, who counts on it for terminals /health/ready.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 CMD ["/usr/bin/muster", "node", "health", "--live"]
ENTRYPOINT ["/usr/bin/muster"]
CMD ["node"]
