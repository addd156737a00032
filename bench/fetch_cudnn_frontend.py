#!/usr/bin/env python3
"""Brings the headers of NVIDIA's cudnn-frontend into a build folder: FOLDER/include.

They are header-only, from the PyPI package nvidia-cudnn-frontend, and only kernel_bench uses them.
Does nothing where they already are. Ends with 1, and one line, where they cannot be had.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "nvidia-cudnn-frontend==1.32.0"
HEADERS = "include/"


def download(folder):
    """The wheel, in `folder`."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
               "--no-deps", "--only-binary", ":all:", "--dest", folder, PACKAGE]
    subprocess.run(command, check=True, stdout=sys.stderr, timeout=300)
    return next(Path(folder).glob("*.whl"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    done = folder / PACKAGE  # written last
    if done.exists():
        return 0
    try:
        with tempfile.TemporaryDirectory() as temporary:
            with zipfile.ZipFile(download(temporary)) as wheel:
                wheel.extractall(folder, [n for n in wheel.namelist() if n.startswith(HEADERS)])
    except (OSError, StopIteration, subprocess.SubprocessError, zipfile.BadZipFile) as error:
        print(f"cannot fetch {PACKAGE}: {error}", file=sys.stderr)
        return 1
    done.touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
