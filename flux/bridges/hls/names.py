"""The last parts of the paths under which HLS is served."""

import re

from media.hls.group import SOUND_URI, VARIANT_NAME
from media.hls.lanes import AUDIO_NAME, MEDIA_PLAYLIST_NAME

MULTIVARIANT_PLAYLIST_NAME = "index.m3u8"
PLAYLIST_NAME = re.compile(
    rf"{re.escape(MULTIVARIANT_PLAYLIST_NAME)}|{re.escape(MEDIA_PLAYLIST_NAME)}"
    rf"|{AUDIO_NAME}\d{{1,2}}\.m3u8|{VARIANT_NAME}\d{{1,2}}\.m3u8|{re.escape(SOUND_URI)}"
)
SEGMENT_NAME = re.compile(r"\w+-p?\d+\.(?:ts|m4s|mp4)")  # what segmenters call theirs
