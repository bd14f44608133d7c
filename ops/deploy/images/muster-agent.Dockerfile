# The agent of a terminal, for tests and for terminals that run containers. Built by ./ops/image.
FROM scratch
COPY passwd /etc/passwd
COPY program /usr/bin/muster-agent
COPY --chown=65532:65532 empty /var/lib/muster-agent
USER 65532:65532
WORKDIR /var/lib/muster-agent
ENV PATH=/usr/bin MUSTER_AGENT_CONFIG=/etc/muster/agent.toml NO_COLOR=1
STOPSIGNAL SIGTERM
# Whether its loop answers: an agent that hangs still has a socket that takes connections.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/bin/muster-agent", "status", "--running"]
ENTRYPOINT ["/usr/bin/muster-agent"]
CMD ["run"]
