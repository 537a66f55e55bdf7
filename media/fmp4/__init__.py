"""Fragmented MP4, ISO/IEC 14496-12: boxes, sample entries, and the muxer of live fragments."""
