"""Compiles the twins: modules in Cython, each beside one in Python that does the same, only slower
(`flux/base/twins.py`). Where there is no C compiler FLUX is installed without them.

`pip install` does it by itself, with --editable too. `python hatch_build.py` does it in place, and
fails where it cannot.
"""

import contextlib
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGES = ("flux", "media", "protocols")
FLAGS = ["-O3", "-g0"]


class TwinsHook(BuildHookInterface[Any]):
    """What `pip install` runs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the compiled files into the wheel, which is for this platform alone then."""
        try:
            made = compile_twins(Path(self.root))
        except Exception as error:  # of compilers and their tools, of any kind
            self.app.display_warning(f"installed without compiled twins: {error}")
            for package in PACKAGES:  # what an earlier version left does not go with this one
                for left in (Path(self.root) / package).rglob("_*.so"):
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
        sources = sorted(path for package in PACKAGES for path in Path(package).rglob("_*.pyx"))
        extensions = [
            Extension(".".join(path.with_suffix("").parts), [str(path)], extra_compile_args=FLAGS)
            for path in sources
        ]
        made = cythonize(extensions, build_dir=temporary, quiet=True)
        command = build_ext(Distribution({"name": "twins", "ext_modules": made}))
        command.build_temp, command.build_lib = temporary, "."
        command.finalize_options()
        command.run()
        return [command.get_ext_fullpath(each.name).removeprefix("./") for each in made]


if __name__ == "__main__":
    compile_twins(Path(__file__).parent)
