"""Where the tests find what the Makefile's set-up steps put into the cache: binaries, root file systems, parts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "auren"


class MissingPartError(Exception):
    """Something that a test needs is not on this machine; the message says what and how to get it."""


def _newest(folder: Path, pattern: str) -> Path | None:
    found = sorted(folder.glob(pattern), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def program(name: str) -> Path:
    """Path of a binary that the project built (``kube-apiserver``, ``etcd``, ``kwok``, ``helm`` …).

    Raises MissingPartError where it was not built yet.
    """
    found = _newest(CACHE / "bin", f"*/{name}")
    if found is None:
        raise MissingPartError(f"{name} is not in {CACHE / 'bin'}: run `make tools` once")
    return found


def built(name: str) -> str:
    """What the project built of a program: its module and version, e.g. ``etcd-v3.6.14``. Raises MissingPartError."""
    return program(name).parent.name


def on_path(name: str) -> Path:
    """Path of a program of this machine. Raises MissingPartError where there is none."""
    found = shutil.which(name)
    if found is None:
        raise MissingPartError(f"{name} is not installed on this machine: run `make tools` once")
    return Path(found)


def part(name: str, inside: str) -> Path:
    """Folder ``inside`` of a downloaded part, e.g. ``part("kafka", "libs")``. Raises MissingPartError."""
    found = _newest(CACHE / "parts", f"{name}-*/{inside}")
    if found is None:
        raise MissingPartError(f"the parts of {name} are not in {CACHE / 'parts'}: run `make tools` once")
    return found


def root_file_system(name: str) -> Path:
    """An extracted Debian root file system (``postgres``, ``redis``) to chroot into; extracted at first use.

    Raises MissingPartError where the archive was not made yet, or this is not root (chroot needs it).
    """
    if os.geteuid() != 0:
        raise MissingPartError(f"the tests start {name} in a root file system of its own, which needs root (chroot)")
    archive = _newest(CACHE / "rootfs", f"{name}-*[0-9a-f].tar")
    if archive is None:
        raise MissingPartError(f"no root file system of {name} in {CACHE / 'rootfs'}: run `make tools` once")
    folder = archive.with_suffix("")
    if not (folder / ".extracted").exists():
        _extract(archive, folder)
    return folder


def _extract(archive: Path, folder: Path) -> None:
    partial = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)  # of a process before this one that was interrupted
    partial.mkdir(parents=True)
    # not `tarfile`: its filters came with 3.11.4, and Debian 12 has 3.11.2
    subprocess.run(["tar", "--extract", "--numeric-owner", f"--file={archive}", f"--directory={partial}"], check=True)
    (partial / ".extracted").touch()
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
