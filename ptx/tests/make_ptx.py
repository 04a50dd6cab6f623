#!/usr/bin/env python3
"""Compiles tests/cuda/*.cu to tests/golden/*.ptx with NVRTC; needs no GPU.

    pip install nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12
    ptx/tests/make_ptx.py [NAME...]

A source names its variants in a first line such as `// arch: sm_80 sm_90`; one without is compiled for sm_80.
Further options stand in a line `// options: -lineinfo`. The golden files are committed, so the tests run where
NVRTC is not; run this again after a change to a source, and say in the commit which NVRTC made them.
"""

import ctypes
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).parent


def wheel_folder():
    """The folder `nvidia` in which the wheels put their libraries."""
    import nvidia

    return pathlib.Path(next(iter(nvidia.__path__)))


def load(folder):
    """Builtins first, by absolute path: libnvrtc itself looks for them only by name."""
    libraries = sorted(folder.glob("*/lib/libnvrtc*.so.*"), key=lambda p: "builtins" not in p.name)
    libraries = [p for p in libraries if ".alt." not in p.name]
    if not libraries:
        sys.exit("no libnvrtc below " + str(folder) + ": pip install nvidia-cuda-nvrtc-cu12 nvidia-cuda-runtime-cu12")
    for path in libraries:
        library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    return library


def call(nvrtc, name, *arguments):
    status = getattr(nvrtc, name)(*arguments)
    if status != 0:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise RuntimeError(f"{name}: {nvrtc.nvrtcGetErrorString(status).decode()}")


def text_of(nvrtc, what, program):
    size = ctypes.c_size_t()
    call(nvrtc, f"nvrtcGet{what}Size", program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    call(nvrtc, f"nvrtcGet{what}", program, buffer)
    return buffer.value.decode()


def compile_ptx(nvrtc, source, name, options):
    program = ctypes.c_void_p()
    call(nvrtc, "nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), 0, None, None)
    array = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    try:
        call(nvrtc, "nvrtcCompileProgram", program, len(options), array)
    except RuntimeError as error:
        sys.exit(f"{name}: {error}\n{text_of(nvrtc, 'ProgramLog', program)}")
    # Where it was compiled is nobody's business.
    return re.sub(r'(\.file\s+\d+ ")[^"]*/', r"\1", text_of(nvrtc, "PTX", program))


def main():
    folder = wheel_folder()
    nvrtc = load(folder)
    headers = [f"-I{p}" for p in sorted(folder.glob("*/include"))]
    wanted = set(sys.argv[1:])
    for path in sorted((HERE / "cuda").glob("*.cu")):
        if wanted and path.stem not in wanted:
            continue
        source = path.read_text()
        arches = re.search(r"^// arch: (.*)$", source, re.M)
        extra = re.search(r"^// options: (.*)$", source, re.M)
        for arch in arches.group(1).split() if arches else ["sm_80"]:
            options = [f"-arch={arch}", "-std=c++17", "-default-device"] + headers
            options += extra.group(1).split() if extra else []
            ptx = compile_ptx(nvrtc, source, path.name, options)
            out = HERE / "golden" / f"{path.stem}.{arch}.ptx"
            out.write_text(ptx)
            print(f"{out.relative_to(HERE)}: {len(ptx.splitlines())} lines")


main()
