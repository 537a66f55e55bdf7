"""What becomes of sound: one word for all outputs, or one for each of some."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from config.section import Section

AudioWord = Literal["keep", "aac", "opus", "drop"]
WORD, OUTPUTS = "[word]", "[outputs]"  # steps in the paths of errors that are no keys


class AudioOutputs(Section):
    """What sound single outputs have; null: as `others`."""

    others: AudioWord | None = None
    """What becomes of sound that an output which is not named cannot carry; null: what
    `sources.audio` says, there `keep`."""
    hls: AudioWord | None = None
    """Of HLS, that of groups too."""
    flv: AudioWord | None = None
    """Of HTTP-FLV and WS-FLV."""
    ts: AudioWord | None = None
    """Of MPEG-TS over HTTP."""
    mp4: AudioWord | None = None
    """Of fragmented MP4 over HTTP and WebSocket."""
    rtsp: AudioWord | None = None
    """Of all RTP: RTSP players, `rtsp://` and `rtp://` targets of `forward`."""
    srt: AudioWord | None = None
    """Of SRT readers and targets."""
    udp: AudioWord | None = None
    """Of `udp://` targets."""

    def named(self) -> dict[str, AudioWord]:
        """The outputs that are named, each with its word."""
        words = {key: getattr(self, key) for key in type(self).model_fields if key != "others"}
        return {key: word for key, word in words.items() if word is not None}


def _form_of(value: Any) -> str:
    return OUTPUTS if isinstance(value, Mapping | AudioOutputs) else WORD


AudioChoice = Annotated[
    Annotated[AudioWord, Tag(WORD)] | Annotated[AudioOutputs, Tag(OUTPUTS)],
    Discriminator(_form_of),
]


def audio_words(
    own: AudioWord | AudioOutputs | None, common: AudioWord | AudioOutputs
) -> tuple[AudioWord, dict[str, AudioWord]]:
    """The word for all outputs, and those of single ones: a stream's own before the common."""
    word: AudioWord = "keep"
    named: dict[str, AudioWord] = {}
    for choice in (common, own):
        if isinstance(choice, AudioOutputs):
            if choice.others is not None:
                word, named = choice.others, {}
            named |= choice.named()
        elif choice is not None:
            word, named = choice, {}
    return word, named
