"""Receiver reports of one RTP session: when to send one (RFC 3550 section 6.2) and what is in it.

An RTSP session has two members on each RTP session, so the interval is the minimum of section 6.2,
5 s; it is varied over 0.5 to 1.5 of that, half of it before the first report (section 6.3.1). With
two members there is no membership to estimate, and timer reconsideration would never change
anything; its compensation by e - 1.5 is left out with it.
"""

from collections.abc import Callable

from protocols.rtcp.compound import serialize_compound
from protocols.rtcp.packet import (
    Goodbye,
    ReceiverReport,
    ReportBlock,
    SenderReport,
    SourceDescription,
)
from protocols.rtp.reception import ReceptionState

REPORT_INTERVAL = 5.0  # seconds, section 6.2


class ReceiverReporter:
    """Makes the reports on one source. `random` answers numbers from 0 to 1."""

    __slots__ = (
        "_cname",
        "_due_at",
        "_expected",
        "_heard_at",
        "_heard_ssrc",
        "_last_sr",
        "_random",
        "_received",
        "_restarts",
        "_ssrc",
    )

    def __init__(self, ssrc: int, cname: str, random: Callable[[], float], now: float) -> None:
        self._ssrc = ssrc
        self._cname = cname
        self._random = random
        self._due_at = now + self._interval() / 2
        self._last_sr = 0  # middle 32 bits of its NTP
        self._heard_at = 0.0  # when that sender report came
        self._heard_ssrc = 0  # and whose it was
        self._expected = 0  # A.3 expected_prior
        self._received = 0  # A.3 received_prior
        self._restarts = 0  # of the source when these were taken

    def sender_report(self, report: SenderReport, now: float) -> None:
        """Note a sender report of the source, for LSR and DLSR."""
        self._last_sr = report.ntp >> 16 & 0xFFFF_FFFF
        self._heard_at = now
        self._heard_ssrc = report.ssrc

    def get_timer(self) -> float:
        """When the next report is due."""
        return self._due_at

    def handle_timer(self, state: ReceptionState | None, now: float) -> bytes | None:
        """The report, if it is due; `state` is the receiver's, None before its first packet."""
        return self.make_report(state, now) if now >= self._due_at else None

    def make_report(self, state: ReceptionState | None, now: float) -> bytes:
        """A compound of RR and SDES CNAME now, whatever the timer says; the timer begins anew."""
        self._due_at = now + self._interval()
        blocks = () if state is None else (self._block(state, now),)
        report = ReceiverReport(self._ssrc, blocks)
        return serialize_compound((report, SourceDescription.cname(self._ssrc, self._cname)))

    def make_goodbye(self, state: ReceptionState | None, now: float) -> bytes:
        """The last compound: RR, SDES and BYE, section 6.6."""
        return self.make_report(state, now) + Goodbye((self._ssrc,)).serialize()

    def _interval(self) -> float:
        return REPORT_INTERVAL * (0.5 + self._random())

    def _block(self, state: ReceptionState, now: float) -> ReportBlock:
        """Loss as A.3 computes it."""
        if state.restarts != self._restarts:
            self._restarts = state.restarts
            self._expected = self._received = 0
        expected = state.expected - self._expected
        lost = expected - (state.received - self._received)
        self._expected = state.expected
        self._received = state.received
        last_sr = self._last_sr if self._heard_ssrc == state.ssrc else 0
        delay = int((now - self._heard_at) * 65_536) & 0xFFFF_FFFF if last_sr else 0
        return ReportBlock(
            ssrc=state.ssrc,
            fraction_lost=min(255, (lost << 8) // expected) if expected > 0 and lost > 0 else 0,
            cumulative_lost=state.expected - state.received,
            highest_sequence=state.highest_sequence,
            jitter=min(state.jitter, 0xFFFF_FFFF),
            last_sr=last_sr,
            delay_since_last_sr=delay,
        )
