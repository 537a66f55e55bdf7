"""A program's pipe: wide while it lives, and nobody's fault when it has ended at once."""

import asyncio
import fcntl

from tests.support.srt_child import PIPE_BYTES, child, widen

F_GETPIPE_SZ = 1032  # linux/fcntl.h


async def test_its_pipe_is_wide() -> None:
    async with child(["cat"]) as program:
        assert program.process.stdin is not None
        pipe = program.process.stdin.get_extra_info("pipe")
        assert fcntl.fcntl(pipe.fileno(), F_GETPIPE_SZ) == PIPE_BYTES


async def test_it_may_end_before_it_is_widened() -> None:
    process = await asyncio.create_subprocess_exec("true", stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    await process.wait()
    await process.stdin.wait_closed()
    widen(process)
