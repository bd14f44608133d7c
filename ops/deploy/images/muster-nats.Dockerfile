# nats-server of the pinned version. Built by ./ops/image. It has no health check: the program cannot ask itself, and a
# node is ready only when it hears NATS.
FROM scratch
COPY passwd /etc/passwd
COPY program /usr/bin/nats-server
USER 65532:65532
ENV PATH=/usr/bin
EXPOSE 4222
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/nats-server"]
CMD ["--config", "/etc/nats/nats.conf"]
