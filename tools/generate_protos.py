"""Generate `proto/parti_proto` from `proto/parti/v1/*.proto`.

`python tools/generate_protos.py` rewrites the folder; `--check` compares instead and exits 1 on a
difference (the drift test runs it).
"""

from __future__ import annotations

import re
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "proto"
TARGET = ROOT / "proto" / "parti_proto"
INIT = (
    '"""Code generated from `proto/parti/v1/*.proto` by `tools/generate_protos.py`. '
    'Do not edit."""\n'
)


def generate(target: Path) -> None:
    """Write the generated modules and their package file into `target`."""
    with tempfile.TemporaryDirectory() as scratch:
        well_known = str(resources.files("grpc_tools") / "_proto")
        names = sorted(
            str(p.relative_to(SOURCES)) for p in (SOURCES / "parti" / "v1").glob("*.proto")
        )
        arguments = ["protoc", f"-I{SOURCES}", f"-I{well_known}"]
        arguments += [f"--{kind}_out={scratch}" for kind in ("python", "pyi", "grpc_python")]
        if protoc.main(arguments + names) != 0:
            raise SystemExit("protoc failed; its messages are above")
        target.mkdir(parents=True, exist_ok=True)
        (target / "__init__.py").write_text(INIT)
        for path in sorted((Path(scratch) / "parti" / "v1").iterdir()):
            (target / path.name).write_text(with_local_imports(path.read_text()))


def with_local_imports(text: str) -> str:
    """Point imports among generated modules at the package `parti_proto`."""
    return re.sub(
        r"^from parti\.v1 import (\w+)", r"from parti_proto import \1", text, flags=re.MULTILINE
    )


def differences(fresh: Path) -> list[str]:
    """Names of files that differ between `fresh` and the checked-in folder."""
    names = {p.name for p in fresh.iterdir()} | {
        p.name for p in TARGET.iterdir() if p.suffix in {".py", ".pyi"}
    }
    return sorted(
        name
        for name in names
        if not (fresh / name).exists()
        or not (TARGET / name).exists()
        or (fresh / name).read_text() != (TARGET / name).read_text()
    )


def main() -> None:
    """Run the tool."""
    if "--check" not in sys.argv[1:]:
        generate(TARGET)
        return
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch) / "parti_proto"
        generate(fresh)
        stale = differences(fresh)
    if stale:
        print(f"out of date: {', '.join(stale)}; run: python tools/generate_protos.py")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
