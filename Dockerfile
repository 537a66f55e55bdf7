# FLUX as a container. Two stages: the first, which has a C compiler, makes the virtual environment,
# the second holds it alone.
#
#   docker build -t flux .
#   docker run --rm -p 8888:8888 -p 8554:8554 -p 8000-8001:8000-8001/udp -p 8890:8890/udp flux
#   docker run --rm -p 8888:8888 -v "$PWD/config:/config:ro" flux     with your own /config/flux.yaml
#
# The image holds PyAV's wheels and with them FFmpeg linked with libx264 and libx265 (GPL-2.0 or
# later): whoever passes the image on must meet those terms, see NOTICE.

FROM python:3.12-bookworm AS build
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE NOTICE ./
COPY config config
COPY flux flux
COPY media media
COPY protocols protocols
RUN python -m venv --without-pip /opt/flux \
    && python -m pip --python /opt/flux/bin/python install --no-cache-dir --no-compile . \
    && find /opt/flux/lib -type d -name tests -prune -exec rm -rf {} + \
    && /opt/flux/bin/python -m compileall -q -j 0 /opt/flux/lib

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="FLUX" \
      org.opencontainers.image.description="A live-media server" \
      org.opencontainers.image.licenses="Apache-2.0 AND GPL-2.0-or-later"
RUN groupadd --system --gid 10001 flux \
    && useradd --system --uid 10001 --gid flux --home-dir /nonexistent --no-create-home \
        --shell /usr/sbin/nologin flux
COPY --from=build /opt/flux /opt/flux
COPY LICENSE NOTICE /usr/share/doc/flux/
COPY deploy/container.yaml /config/flux.yaml
ENV PATH=/opt/flux/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FLUX_CONFIG=/config/flux.yaml
USER 10001:10001
VOLUME /config
# 8888 media for viewers; 9997 health and metrics, the API itself only where credentials are set up;
# 8554 RTSP, 8000 and 8001 its RTP and RTCP, 8890 SRT
EXPOSE 8888/tcp 9997/tcp 8554/tcp 8000/udp 8001/udp 8890/udp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
    CMD ["flux", "healthcheck"]
ENTRYPOINT ["flux"]
CMD ["run"]
