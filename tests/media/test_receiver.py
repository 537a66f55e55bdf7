"""The runs of a container's receiver, with a container that holds what the test says."""

from collections.abc import Mapping
from dataclasses import dataclass

from flux.base.errors import PeerError
from media.publisher import Publisher
from media.receiver import Receiver, anchor
from media.router import Router
from media.stream import StreamOptions
from media.track import AAC, H264, KLV, Kind, Track, TrackDescription

SOUND = TrackDescription(Kind.AUDIO, AAC, 48_000)
DATA = TrackDescription(Kind.DATA, KLV, 90_000)
PICTURE = TrackDescription(Kind.VIDEO, H264, 90_000)


@dataclass
class Piece:
    pts: int
    dts: int
    payload: tuple[bytes, ...]


class Bag(Receiver[Piece]):
    """Keeps pieces until its timer, then publishes them as the first track."""

    def __init__(self, router: Router, *descriptions: TrackDescription) -> None:
        self.ends: list[str] = []
        self.runs = 0
        self.let_go = 0
        self.publisher: Publisher | None = None
        self._descriptions = descriptions
        super().__init__("cam", router, "test", self.ends.append, self._count, 10)

    def put(self, piece: Piece, due: float) -> None:
        self._deadline = due
        self._keep(piece, "bag-full")

    def change(self, now: float) -> None:
        self._now = now
        self._leave()
        self._decide_late()

    def _count(self) -> None:
        self.runs += 1

    def _decide_late(self) -> None:
        self.publisher = self._publish(self._descriptions)
        if self.publisher is not None:
            anchor(self.publisher, 90_000, self.publisher.tracks)
            self._play()
            for piece in self._take_kept():
                self._write(self.publisher.tracks[0], piece, self._now)

    def _let_go(self) -> None:
        self.let_go += 1


def make_router() -> Router:
    router = Router(lambda _: None)
    router.declare("cam", StreamOptions())
    return router


def test_what_was_kept_is_published_once_and_the_rest_is_counted() -> None:
    router = make_router()
    bag = Bag(router, SOUND)
    bag.dropped("junk", 3)
    bag.put(Piece(0, 0, (b"12345", b"678")), 5.0)
    bag.put(Piece(1024, 7, (b"123",)), 5.0)  # no room
    bag.handle_timer(4.9)
    assert (bag.is_playing, bag.get_timer()) == (False, 5.0)
    bag.handle_timer(5.0)
    assert (bag.is_playing, bag.get_timer(), bag.runs) == (True, None, 1)
    stream = router.find("cam")
    assert stream is not None
    assert [each.frames for each in stream.inputs.values()] == [1]
    assert dict(bag.drops) == {"junk": 3, "bag-full": 1}
    assert stream.drops == bag.drops  # also those from before there was a publisher
    bag.change(6.0)
    assert (bag.runs, bag.ends) == (2, [])


def test_the_end_comes_once_and_not_after_a_close() -> None:
    router = make_router()
    bag = Bag(router, SOUND)
    bag.put(Piece(0, 0, (b"1",)), 1.0)
    bag.handle_timer(1.0)
    assert bag.publisher is not None
    bag.publisher.close("kicked", 2.0)
    bag.publisher.close("kicked", 2.0)
    assert (bag.ends, bag.closed, bag.is_playing, bag.let_go) == (["kicked"], True, False, 1)
    other = Bag(router, SOUND)
    other.put(Piece(0, 0, (b"1",)), 1.0)
    other.handle_timer(1.0)
    other.close("stopped", 2.0)
    other.close("stopped", 2.0)
    assert (other.ends, other.closed, other.let_go) == ([], True, 1)
    assert router.publisher("cam") is None


def test_a_router_that_refuses_is_the_end() -> None:
    class Closed(Router):
        def publish(self, *_: object, **__: object) -> Publisher:
            raise PeerError("server-stopping", 503)

    bag = Bag(Closed(lambda _: None), SOUND)
    bag.put(Piece(0, 0, (b"1",)), 1.0)
    bag.handle_timer(1.0)
    assert (bag.ends, bag.closed, bag.runs) == (["server-stopping"], True, 0)


def test_all_tracks_are_anchored_at_one_instant() -> None:
    told: list[Mapping[Track, int]] = []

    class Told(Publisher):
        def anchor(self, timestamps: Mapping[Track, int]) -> None:
            told.append(timestamps)

    router = make_router()
    made = router.publish("cam", (PICTURE, SOUND, DATA), now=1.0, origin="test")
    publisher = Told(made.stream, made.tracks, "test", "session", lambda *_: None)
    anchor(publisher, 180_000, publisher.tracks)
    assert told == [dict(zip(made.tracks, (180_000, 96_000, 180_000), strict=True))]
