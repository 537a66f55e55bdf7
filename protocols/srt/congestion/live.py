"""Live mode: the source has its own pace; sending is only kept from exceeding a rate, draft 5.1."""

from protocols.srt.congestion.control import NO_WINDOW, UNLIMITED_RATE, AckSample
from protocols.srt.options import RateOptions
from protocols.srt.rates import InputRate

MIN_OVERHEAD, MAX_OVERHEAD = 5, 100  # percent


class LiveControl:
    """`max_rate` -1: 1 Gbit/s; else that; 0: the input, given or measured, and an overhead."""

    __slots__ = ("_factor", "_options", "hears_acks", "input", "rate", "window")

    def __init__(self, options: RateOptions) -> None:
        self._options = options
        self.hears_acks = False
        percent = min(max(options.overhead_percent, MIN_OVERHEAD), MAX_OVERHEAD)
        self._factor = 1 + percent / 100
        self.input = InputRate()
        self.window = NO_WINDOW
        self.rate = UNLIMITED_RATE
        if options.max_rate > 0:
            self.rate = float(options.max_rate)
        elif options.max_rate == 0 and options.input_rate > 0:
            self.rate = options.input_rate * self._factor

    def on_input(self, packets: int, size: int, now: float) -> None:
        """See `CongestionControl`."""
        self.input.count(packets, size, now)
        options = self._options
        if options.max_rate == 0 and not options.input_rate and self.input.bytes:
            self.rate = max(self.input.bytes, options.min_input_rate) * self._factor

    def on_ack(self, sample: AckSample, now: float) -> None:
        """See `CongestionControl`."""

    def on_loss(self, lost: int, last: int, end: int, now: float) -> None:
        """See `CongestionControl`: a source does not slow down because the path is bad."""

    def on_timeout(self, now: float) -> None:
        """See `CongestionControl`."""
