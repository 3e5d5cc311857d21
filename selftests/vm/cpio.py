# SPDX-License-Identifier: GPL-2.0
"""Writes initramfs archives: the "newc" cpio format, which the kernel takes uncompressed and several in a row.

Members are sorted and belong to root, so that the same files give the same archive.
"""

import os
import stat

ALIGN = 4


class Archive:
    """Members by path, collected first and written by `save`."""

    def __init__(self):
        self._members = {}

    def folder(self, path):
        """Adds `path` and the folders above it."""
        path = path.strip("/")
        if path and path not in self._members:
            self.folder(os.path.dirname(path))
            self._members[path] = (stat.S_IFDIR | 0o755, 0, b"")

    def data(self, path, content, mode=0o644, mtime=0):
        """Adds a file with `content`."""
        self.folder(os.path.dirname(path))
        self._members[path.strip("/")] = (stat.S_IFREG | mode, mtime, content)

    def link(self, path, target):
        """Adds a symbolic link to `target`."""
        self.folder(os.path.dirname(path))
        self._members[path.strip("/")] = (stat.S_IFLNK | 0o777, 0, os.fsencode(target))

    def file(self, path, source):
        """Adds the file `source`; its time is kept, because Python compares it with its compiled files."""
        status = os.stat(source)
        with open(source, "rb") as opened:
            self.data(path, opened.read(), stat.S_IMODE(status.st_mode), int(status.st_mtime))

    def tree(self, path, source):
        """Adds everything in the folder `source`, links as links."""
        self.folder(path)
        for entry in os.scandir(source):
            inside = f"{path}/{entry.name}"
            if entry.is_symlink():
                self.link(inside, os.readlink(entry.path))
            elif entry.is_dir():
                self.tree(inside, entry.path)
            else:
                self.file(inside, entry.path)

    def save(self, path):
        """Writes the archive; a reader never sees half of one."""
        with open(path + ".new", "wb") as out:
            for number, name in enumerate(sorted(self._members), start=1):
                mode, mtime, content = self._members[name]
                _write_member(out, number, name, mode, mtime, content)
            _write_member(out, 0, "TRAILER!!!", 0, 0, b"")
        os.rename(path + ".new", path)


def _write_member(out, number, name, mode, mtime, content):
    encoded = os.fsencode(name) + b"\0"
    links = 1
    # Inode, mode, owner, group, links, time, size, device pairs of file and node, name length, unused checksum.
    fields = (number, mode, 0, 0, links, mtime, len(content), 0, 0, 0, 0, len(encoded), 0)
    out.write(b"070701" + b"".join(b"%08X" % field for field in fields))
    for part in (encoded, content):
        out.write(part)
        out.write(b"\0" * (-out.tell() % ALIGN))
