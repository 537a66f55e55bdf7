"""Programs that publish a moving picture and a tone."""

from tests.support.program import Program

RATE = 25


def moving_picture(
    url: str, size: str = "640x360", *, video: str = "libx264", gop: int = RATE
) -> Program:
    """An ffmpeg that publishes over RTSP: GOPs of so many pictures, B-frames where it can."""
    frames = ["-bf", "2"] if video == "libx264" else []
    return Program(
        [
            "ffmpeg", "-hide_banner", "-loglevel", "error", "-re",
            "-f", "lavfi", "-i", f"testsrc2=size={size}:rate={RATE}",
            "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000",
            "-c:v", video, "-preset", "veryfast", "-g", str(gop), *frames,
            "-pix_fmt", "yuv420p", "-threads", "1", "-c:a", "aac", "-ac", "2",
            "-f", "rtsp", "-rtsp_transport", "tcp", url,
        ]
    )  # fmt: skip
