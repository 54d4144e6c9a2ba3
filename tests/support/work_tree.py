"""What lies in a git work tree, so that a run of the suite can be held to leaving it as it was."""

import hashlib
import subprocess
from pathlib import Path

# What tools keep for themselves; everything else counts, also where git ignores it.
CACHES = {
    "__pycache__",
    ".pytest_cache",
    ".ruff_cache",
    ".hypothesis",
    ".import_linter_cache",
    ".venv",
}


def state(root: Path) -> dict[str, str]:
    """Path -> digest of every file that differs from the last commit; empty outside a checkout."""
    if not (root / ".git").exists():
        return {}
    git = ["git", "-c", "safe.directory=*", "status", "--porcelain", "-z", "--no-renames", "--ignored=matching"]
    listed = subprocess.run([*git, "--untracked-files=all"], cwd=root, capture_output=True, text=True, check=True)
    paths = [Path(entry[3:]) for entry in listed.stdout.split("\0") if entry]
    return {str(path): _digest(root / path) for path in paths if not CACHES & set(path.parts)}


def changed(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Paths that came, went or changed."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def _digest(path: Path) -> str:
    if path.is_dir():
        return ",".join(sorted(f"{p}:{p.stat().st_size}" for p in path.rglob("*") if p.is_file()))
    return hashlib.blake2b(path.read_bytes()).hexdigest() if path.is_file() else ""
