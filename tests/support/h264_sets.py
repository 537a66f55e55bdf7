"""Parameter sets of two real clips, for tests that need some without reading a file."""

# video_big_buck_bunny.mp4: Constrained Baseline, 480x360
SPS = bytes.fromhex("6742c01e9a7203c17fcb8088000003000800000301e078b17240")
PPS = bytes.fromhex("68ce32c8")
# sample_with_increasing_timestamps_360p.mp4: Constrained Baseline, 640x360, same ids
SPS_OTHER = bytes.fromhex("6742c01eda0280bfe59a808080a00176ed2057e40001e2c5d4")
PPS_OTHER = bytes.fromhex("68ce0f2c80")
