# The agent of a terminal, for tests and for terminals that run containers. Built by ./ops/image.
FROM scratch
COPY passwd /etc/passwd
COPY program /usr/bin/muster-agent
COPY --chown=65532:65532 empty /var/lib/muster-agent
USER 65532:65532
WORKDIR /var/lib/muster-agent
ENV PATH=/usr/bin MUSTER_AGENT_CONFIG=/etc/muster/agent.toml NO_COLOR=1
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/usr/bin/muster-agent", "status"]
ENTRYPOINT ["/usr/bin/muster-agent"]
CMD ["run"]
