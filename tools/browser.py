"""The browser of the tests: Chromium's headless shell from the npm package @sparticuz/chromium, unpacked beside it (ADR 0014).

The package is made for a Linux without anything, so that the libraries and the font a browser needs come with it. On other
machines a browser that is installed does as well: the one named by ORBYT_TEST_BROWSER, or one in PATH.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.npm import NODE_DIR, environment, node

SETTING: Final = "ORBYT_TEST_BROWSER"
INSTALLED: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
UNPACK_SECONDS_MAX: Final = 180
_PACKAGE: Final = NODE_DIR / "node_modules" / "@sparticuz" / "chromium"
# Within node_modules: another version of the package makes npm start afresh, and this with it.
_UNPACKED: Final = NODE_DIR / "node_modules" / ".chromium"
# The package unpacks to the directory for temporary files.
_UNPACK: Final = """
import { inflate } from "@sparticuz/chromium";
for (const part of ["chromium.br", "al2023.tar.br", "fonts.tar.br"]) await inflate(`${process.argv[1]}/bin/${part}`);
"""


@dataclass(frozen=True, slots=True)
class Browser:
    """A program and what it needs in its environment."""

    executable: Path
    environment: Mapping[str, str]


def find(home: Path) -> Browser | None:
    """The browser, unpacked at the first call (a few seconds); None where this machine has none. `home`: where it may write."""
    basics = {"HOME": str(home), "PATH": os.defpath, "LANG": "C.UTF-8"}
    named = os.environ.get(SETTING)
    if named:
        return Browser(Path(named), basics)
    if platform.system() == "Linux" and platform.machine() == "x86_64" and _PACKAGE.is_dir():
        unpacked = _unpacked()
        fonts = home / "fonts.conf"
        fonts.write_text(
            f"<fontconfig><dir>{unpacked / 'fonts' / 'fonts'}</dir><cachedir>{home / 'fonts-cache'}</cachedir></fontconfig>\n"
        )
        libraries = {"LD_LIBRARY_PATH": str(unpacked / "al2023" / "lib"), "FONTCONFIG_FILE": str(fonts)}
        return Browser(unpacked / "chromium", basics | libraries)
    installed = next((path for name in INSTALLED if (path := shutil.which(name)) is not None), None)
    return None if installed is None else Browser(Path(installed), basics)


def _unpacked() -> Path:
    """Of several processes that unpack at once the first one's stays: a directory appears whole or not at all."""
    if _UNPACKED.is_dir():
        return _UNPACKED
    made = Path(tempfile.mkdtemp(dir=_UNPACKED.parent, prefix=".unpacking-"))
    try:
        subprocess.run(
            [node(), "--input-type=module", "--eval", _UNPACK, _PACKAGE],
            cwd=NODE_DIR,
            env=environment() | {"TMPDIR": str(made)},
            stdin=subprocess.DEVNULL,
            timeout=UNPACK_SECONDS_MAX,
            check=True,
        )
        with contextlib.suppress(OSError):
            made.rename(_UNPACKED)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return _UNPACKED
