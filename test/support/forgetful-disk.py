"""A disk that forgets, as one file of a FUSE file system for a loop device to lie on (test/support/forgetful-disk.ts).

What was written is kept in a cache, as the one of a drive, until the kernel asks for a flush. At SIGUSR1 the power fails: of
what was not flushed any part survives, sector by sector and in any order, drawn by the seed, and from there on
every access fails.

    forgetful-disk.py IMAGE FOLDER SEED     FOLDER/disk; IMAGE holds what has been flushed
"""
import errno
import os
import random
import signal
import stat
import sys
import threading

import fusepy

SECTOR = 512
FLAGS = {'big_writes': True, 'max_write': 131072, 'nothreads': True, 'foreground': True}


class Disk(fusepy.Operations):
    def __init__(self, image, seed):
        self.image = os.open(image, os.O_RDWR)
        self.size = os.fstat(self.image).st_size
        self.random = random.Random(seed)
        # Each sector's unflushed contents, oldest first.
        self.cache = {}
        self.is_off = False
        self.guard = threading.Lock()

    def cut(self, *_):
        """Any of a sector's contents may be the one that has reached the medium, also the one before."""
        with self.guard:
            self.is_off = True
            lost = 0
            for sector, contents in self.cache.items():
                kept = self.random.randrange(len(contents) + 1)
                lost += len(contents) - kept
                if kept > 0:
                    os.pwrite(self.image, contents[kept - 1], sector * SECTOR)
            print(lost, flush=True)

    def check(self):
        if self.is_off:
            raise fusepy.FuseOSError(errno.EIO)

    def getattr(self, path, fh=None):
        if path == '/':
            return {'st_mode': stat.S_IFDIR | 0o700, 'st_nlink': 2}
        if path == '/disk':
            return {'st_mode': stat.S_IFREG | 0o600, 'st_nlink': 1, 'st_size': self.size}
        raise fusepy.FuseOSError(errno.ENOENT)

    def readdir(self, path, fh):
        return ['.', '..', 'disk']

    def read(self, path, length, offset, fh):
        with self.guard:
            self.check()
            data = bytearray(os.pread(self.image, length, offset))
            for sector in range(offset // SECTOR, (offset + length) // SECTOR):
                contents = self.cache.get(sector)
                if contents:
                    at = sector * SECTOR - offset
                    data[at : at + SECTOR] = contents[-1]
            return bytes(data)

    def write(self, path, data, offset, fh):
        with self.guard:
            self.check()
            for at in range(0, len(data), SECTOR):
                self.cache.setdefault((offset + at) // SECTOR, []).append(bytes(data[at : at + SECTOR]))
            return len(data)

    def fsync(self, path, datasync, fh):
        with self.guard:
            self.check()
            for sector, contents in self.cache.items():
                os.pwrite(self.image, contents[-1], sector * SECTOR)
            self.cache.clear()
            return 0

    def truncate(self, path, length, fh=None):
        return 0

    def flush(self, path, fh):
        return 0


disk = Disk(sys.argv[1], int(sys.argv[3]))
# A thread of its own: while FUSE waits for the kernel, no handler of Python's would run.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})


def wait_for_cut():
    signal.sigwait({signal.SIGUSR1})
    disk.cut()


threading.Thread(target=wait_for_cut, daemon=True).start()
fusepy.FUSE(disk, sys.argv[2], **FLAGS)
