"""Compiles the twins: modules in Cython, each beside one in Python that does the same, only slower
(`flux/base/twins.py`). Where there is no C compiler FLUX is installed without them.

`pip install` does it by itself, with --editable too. `python hatch_build.py` does it in place, and
fails where it cannot.
"""

import contextlib
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TWINS = (
    "flux/net/_udp_many.pyx",
    "media/codecs/_start_codes.pyx",
    "media/mpegts/_bulk.pyx",
    "protocols/srt/_packing.pyx",
)
FLAGS = ["-O3", "-g0"]


class TwinsHook(BuildHookInterface):
    """What `pip install` runs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the compiled files into the wheel, which is for this platform alone then."""
        try:
            made = compile_twins(Path(self.root))
        except Exception as error:  # of compilers and their tools, of any kind
            self.app.display_warning(f"installed without compiled twins: {error}")
            for path in TWINS:  # what an earlier version left does not go with this one
                for left in (Path(self.root) / path).parent.glob(f"{Path(path).stem}.*.so"):
                    left.unlink()
            return
        build_data["artifacts"] += made
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def compile_twins(root: Path) -> list[str]:
    """Compile them where they stand; the paths of the results. Raises what the compiler raises."""
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    temporary = "build/twins"
    with contextlib.chdir(root):
        extensions = [
            Extension(path.removesuffix(".pyx").replace("/", "."), [path], extra_compile_args=FLAGS)
            for path in TWINS
        ]
        made = cythonize(extensions, build_dir=temporary, quiet=True)
        command = build_ext(Distribution({"name": "twins", "ext_modules": made}))
        command.build_temp, command.build_lib = temporary, "."
        command.finalize_options()
        command.run()
        return [command.get_ext_fullpath(each.name).removeprefix("./") for each in made]


if __name__ == "__main__":
    compile_twins(Path(__file__).parent)
    sys.exit(0)
