"""TLS of the listeners: the operator's certificate, or one of our own, read again on change."""

import asyncio
import os
from pathlib import Path

import structlog

from config.tls import TlsSection
from flux.base.errors import ConfigError
from flux.net.certificate import self_signed
from flux.net.tls import ServerTls, show_fingerprint

logger = structlog.get_logger()


def state_directory() -> Path:
    """Where FLUX keeps what it made itself: systemd's choice, or that of the XDG rules."""
    given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given)
    home = os.environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home else Path.home() / ".local" / "state") / "flux"


def server_tls(section: TlsSection, path: str) -> ServerTls:
    """Certificate and key for a listener; raises `ConfigError`. `path` names the section."""
    if section.certificate:
        return ServerTls(Path(section.certificate), Path(section.key), path)
    try:
        certificate, key = self_signed(state_directory())
    except ConfigError as error:
        raise ConfigError(path, f"cannot keep a certificate of our own: {error.reason}") from None
    return ServerTls(certificate, key, path)


class TlsPart:
    """Reads a listener's certificate again when its files change."""

    name = "tls"

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Say which certificate it is, and watch its files."""
        logger.info("certificate", fingerprint=show_fingerprint(self._tls.fingerprint))
        self._task = asyncio.get_running_loop().create_task(self._tls.watch(self._changed))

    async def stop(self) -> None:
        """Watch no more."""
        if self._task is not None:
            self._task.cancel()

    def _changed(self, error: ConfigError | None) -> None:
        if error is not None:
            logger.warning("certificate not usable, the one before stays", reason=error.reason)
        else:
            logger.info("certificate changed", fingerprint=show_fingerprint(self._tls.fingerprint))
