"""
Installs what a file pins, and shows that it goes on: ``python -m devtools.installation requirements/dev.txt``.

pip itself prints nothing for half a minute, or two lines a package. Here each package that it has got is a dot.
"""

from __future__ import annotations

import subprocess
import sys

# What pip prints last tells why it failed.
_LINES_OF_FAILURE = 30


def main() -> int:
    """Install what the file on the command line pins; return pip's exit status."""
    options = ["--disable-pip-version-check", "--progress-bar", "off", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "install", *options, "-r", sys.argv[1]]
    printed: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            printed.append(line)
            if line.startswith(("Collecting ", "Processing ")):
                print(".", end="", flush=True)
            elif line.startswith("Installing collected packages"):
                print(" unpacking", end="", flush=True)
    print()
    if pip.returncode:
        sys.stderr.writelines(printed[-_LINES_OF_FAILURE:])
    return pip.returncode


if __name__ == "__main__":
    sys.exit(main())
