"""Root file systems of images, made of the files of Debian packages that this machine has installed.

No network and no unpacking: what `dpkg` lists is copied, which takes seconds where debootstrap takes minutes.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import IO

BASE = (
    "base-files",
    "bash",
    "dash",
    "coreutils",
    "sed",
    "grep",
    "login",
    "passwd",
    "libc-bin",
    "ca-certificates",
)
MERGED = ("bin", "sbin", "lib", "lib64")
"""Links into /usr since Debian 12; some packages still list their files under them."""
_LEFT_OUT = re.compile(r"^/usr/share/(doc|man|locale|info|lintian|bash-completion)/")
_FIELDS = "${Package}\t${db:Status-Status}\t${Provides}\t${Pre-Depends}, ${Depends}\n"


def available() -> bool:
    """Whether this is a Debian machine, or of its kind."""
    return shutil.which("dpkg-query") is not None


def closure(wanted: Iterable[str]) -> list[str]:
    """These packages and all they depend on, of what is installed here; KeyError for what is not."""
    depends: dict[str, str] = {}
    provided: dict[str, str] = {}
    for line in _query("-W", "-f", _FIELDS):
        name, status, provides, needs = line.split("\t")
        if status == "installed":
            depends[name] = needs
            provided |= dict.fromkeys(_names(provides), name)
    found: set[str] = set()
    todo = list(wanted)
    while todo:
        if (name := todo.pop()) in found:
            continue
        found.add(name)
        for group in depends[name].split(","):
            here = [n if n in depends else provided.get(n) for n in _names(group)]
            todo += [n for n in here if n][:1]
    return sorted(found)


class Image:
    """The layer of an image as it is written: a tar of files of this machine and of texts of ours."""

    def __init__(self, out: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by close()
        self._known: set[str] = set()

    def close(self) -> None:
        """Finish the tar."""
        self._tar.close()

    def packages(self, wanted: Iterable[str]) -> None:
        """Add the files of packages and of all they depend on."""
        for name in MERGED:
            self.link(f"/{name}", f"usr/{name}")
        masters = Path("/usr/share/base-passwd")
        self.text("/etc/passwd", (masters / "passwd.master").read_text().replace(":*:", ":x:"))
        self.text("/etc/group", (masters / "group.master").read_text().replace(":*:", ":x:"))
        self.folder("/tmp", mode=0o1777)
        for path in _query("-L", *closure([*BASE, *wanted])):
            if path.startswith("/") and path != "/." and not _LEFT_OUT.match(path):
                self.copy(Path(path), path)
        for made in ("/etc/ssl/certs", "/etc/ld.so.cache", "/etc/alternatives", "/etc/nsswitch.conf"):
            self.tree(Path(made), made)

    def copy(self, source: Path, target: str, *, owner: int = 0, mode: int | None = None) -> None:
        """Add one file, link or folder of this machine; what does not exist here is left out."""
        if not source.is_symlink() and not source.exists():
            return
        info = self._tar.gettarinfo(source, arcname=_merged(target))
        if info.name in self._known:
            return
        if info.islnk():  # a hard link to a name the image may not have
            info.type, info.size = tarfile.REGTYPE, source.stat().st_size
        info.uid = info.gid = owner
        info.uname = info.gname = ""
        info.mode = info.mode if mode is None else mode
        self._known.add(info.name)
        if info.isreg():
            with source.open("rb") as content:
                self._tar.addfile(info, content)
        else:
            self._tar.addfile(info)

    def tree(self, source: Path, target: str, *, owner: int = 0) -> None:
        """Add a folder and everything below it, or a file."""
        self.copy(source, target, owner=owner)
        if source.is_dir() and not source.is_symlink():
            for path in sorted(source.rglob("*")):
                self.copy(path, f"{target}/{path.relative_to(source)}", owner=owner)

    def text(self, target: str, text: str, *, mode: int = 0o644, owner: int = 0) -> None:
        """Add a file with this content; a program where the mode says so."""
        self._add(target, mode, owner, content=text.encode())

    def folder(self, target: str, *, mode: int = 0o755, owner: int = 0) -> None:
        """Add an empty folder."""
        self._add(target, mode, owner, type=tarfile.DIRTYPE)

    def link(self, target: str, to: str) -> None:
        """Add a symbolic link."""
        self._add(target, 0o777, 0, type=tarfile.SYMTYPE, linkname=to)

    def _add(self, target: str, mode: int, owner: int, *, content: bytes = b"", **what: object) -> None:
        info = tarfile.TarInfo(_merged(target))
        if info.name in self._known:
            return
        info.mode, info.uid, info.gid, info.size = mode, owner, owner, len(content)
        for name, value in what.items():
            setattr(info, name, value)
        self._known.add(info.name)
        self._tar.addfile(info, io.BytesIO(content))


def _merged(target: str) -> str:
    """A path as the image has it: without links into /usr on the way."""
    path = PurePosixPath(target.lstrip("/"))
    inside = len(path.parts) > 1 and path.parts[0] in MERGED
    return str(PurePosixPath("usr") / path if inside else path)


def _names(field: str) -> list[str]:
    """Package names of a dependency field, versions and architectures cut off."""
    return [
        match.group(1) for each in re.split(r"[,|]", field) if (match := re.match(r"\s*([^\s:(]+)", each))
    ]


def _query(*arguments: str) -> list[str]:
    command = ["dpkg-query", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
