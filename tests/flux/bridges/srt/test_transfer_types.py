"""Sources and targets in file mode, and the choice of congestion control in URLs."""

import time

import pytest

from flux.base.errors import WireError
from flux.bridges.srt.dial import options_of, parse_url
from protocols.srt.endpoint import Endpoint
from protocols.srt.options import Control, ListenerOptions, Mode, Options
from tests.flux.bridges.srt.test_sources import is_ready, published
from tests.support import clips
from tests.support.datagrams import target, until
from tests.support.srt_peers import Collector
from tests.support.srt_stage import LOCAL, SrtStage, transport_stream

FILE = Options(mode=Mode.STREAM)
MESSAGES = Options(mode=Mode.MESSAGE)
KINDS = pytest.mark.parametrize(
    ("options", "query"),
    [(FILE, "transtype=file"), (MESSAGES, "transtype=file&messageapi=1")],
    ids=["stream", "message"],
)


@KINDS
async def test_a_source_in_file_mode_is_bytes_cut_anywhere(options: Options, query: str) -> None:
    """Off (pieces taken for datagrams) nothing of it is a transport stream."""
    async with SrtStage() as stage:
        handler = Collector()
        encoder = Endpoint.bind(LOCAL, 0)
        encoder.listen(ListenerOptions(), lambda call: call.accept(options, handler))
        stage.declare("cam")
        stage.source("cam", f"srt://{LOCAL}:{encoder.port}?{query}")
        await until(lambda: handler.link is not None, "called")
        assert handler.link is not None and handler.link.result is not None
        assert handler.link.result.mode == options.mode
        data = b"".join(transport_stream(clips.BUNNY)[:300])
        pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
        assert handler.link.send(pieces, time.monotonic()) == len(pieces)
        await until(lambda: is_ready(stage, "cam"), "ready")
        encoder.close()


@KINDS
async def test_a_target_in_file_mode(options: Options, query: str) -> None:
    async with SrtStage() as stage:
        await published(stage)
        handler = Collector()
        recorder = Endpoint.bind(LOCAL, 0)
        recorder.listen(ListenerOptions(), lambda call: call.accept(options, handler))
        url = f"srt://{LOCAL}:{recorder.port}?{query}"
        forwards = stage.forward()
        forwards.declare("cam", [target(url)], passive=False)
        await until(lambda: len(handler.payloads) > 20, "media")
        data = b"".join(handler.payloads)
        assert set(data[::188]) == {0x47}
        forwards.remove("cam")
        recorder.close()


@pytest.mark.parametrize(
    ("query", "mode", "name", "control"),
    [
        ("", Mode.LIVE, "live", Control.BY_NAME),
        ("transtype=live", Mode.LIVE, "live", Control.BY_NAME),
        ("congestion=aimd", Mode.LIVE, "live", Control.AIMD),
        ("congestion=file", Mode.LIVE, "file", Control.BY_NAME),
        ("transtype=file", Mode.STREAM, "file", Control.BY_NAME),
        ("transtype=file&messageapi=0", Mode.STREAM, "file", Control.BY_NAME),
        ("transtype=file&messageapi=1", Mode.MESSAGE, "file", Control.BY_NAME),
        ("messageapi=1", Mode.LIVE, "live", Control.BY_NAME),
        ("transtype=file&congestion=live", Mode.STREAM, "live", Control.BY_NAME),
        ("transtype=file&congestion=aimd", Mode.STREAM, "file", Control.AIMD),
    ],
)
def test_the_choice(query: str, mode: Mode, name: str, control: Control) -> None:
    options = options_of(parse_url(f"srt://h:1?{query}"))
    assert (options.mode, options.congestion_name, options.control) == (mode, name, control)


def test_rates() -> None:
    options = options_of(
        parse_url("srt://h:1?maxbw=0&mininputbw=1000&maxrexmitbw=2000&linger=3&inputbw=9")
    )
    rate = options.rate
    assert (rate.max_rate, rate.input_rate, rate.min_input_rate) == (0, 9, 1000)
    assert (rate.max_repair_rate, options.linger) == (2000, 3)


@pytest.mark.parametrize(
    "query",
    [
        *("congestion=cubic", "transtype=message", "transtype=file&packetfilter=fec,cols:5"),
        *("transtype=file&group=backup&nodes=b:2", "messageapi=0", "transtype=file&messageapi=2"),
    ],
)
def test_what_does_not_exist(query: str) -> None:
    with pytest.raises(WireError, match="url-invalid"):
        parse_url(f"srt://h:1?{query}")
