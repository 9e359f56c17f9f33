"""Pin what `pyproject.toml` allows: one file in `requirements/` for each extra.

`python tools/lock_requirements.py` resolves anew and keeps what `requirements/dev.txt` pins
already; `--upgrade` takes the newest of everything. `dev.txt` holds all extras and is what
`make setup` installs; the images install the files of `sidecar` and `operator`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {"dev": "sidecar,operator,dev", "sidecar": "sidecar", "operator": "operator"}
TIMEOUT_S = 600


def resolve(extras: str, constraints: Path | None) -> list[str]:
    """The pins of the project with these extras, without the project itself."""
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
        command += ["--ignore-installed", "--report", str(report)]
        command += ["--disable-pip-version-check", f"{ROOT}[{extras}]"]
        if constraints is not None:
            command += ["--constraint", str(constraints)]
        subprocess.run(command, check=True, timeout=TIMEOUT_S)
        installs = json.loads(report.read_text())["install"]
    metadata = [each["metadata"] for each in installs if "dir_info" not in each["download_info"]]
    return sorted((f"{each['name']}=={each['version']}" for each in metadata), key=str.lower)


def main() -> None:
    """Write the files; `dev` first, since the others take its versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upgrade", action="store_true", help="take the newest of everything")
    upgrade = parser.parse_args().upgrade
    folder = ROOT / "requirements"
    dev = folder / "dev.txt"
    for name, extras in TARGETS.items():
        fresh = upgrade and name == "dev"
        pins = resolve(extras, None if fresh else dev)
        (folder / f"{name}.txt").write_text("\n".join(pins) + "\n")
        sys.stdout.write(f"requirements/{name}.txt: {len(pins)} packages\n")


if __name__ == "__main__":
    main()
