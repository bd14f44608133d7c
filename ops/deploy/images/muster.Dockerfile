# One node of muster, and every operators' command. Built by ./ops/image.
FROM scratch
COPY passwd /etc/passwd
COPY program /usr/bin/muster
COPY --chown=65532:65532 empty /var/lib/muster
COPY --chown=65532:65532 empty /tmp
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
