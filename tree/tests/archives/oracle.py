"""What GNU tar and tarfile make of an archive: one path on each line of the input, one line of JSON for each.

Both extract for real, as root, into directories beside the archive, so the trees are what a kernel shows.
"""

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import tarfile

GNU = ["tar", "-x", "-p", "--same-owner", "--numeric-owner", "-f"]


def tree(root):
    found, first = [], {}
    todo = [b""]
    while todo:
        path = todo.pop()
        full = os.path.join(root, path) if path else root
        meta = os.lstat(full)
        kind, more = stat.S_IFMT(meta.st_mode), ""
        if kind == stat.S_IFDIR:
            names = sorted(os.listdir(full))
            todo += [path + b"/" + name if path else name for name in names]
        elif kind == stat.S_IFREG:
            with open(full, "rb") as file:
                more = file.read().hex()
        elif kind == stat.S_IFLNK:
            more = os.readlink(full).hex()
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            more = "%d,%d" % (os.major(meta.st_rdev), os.minor(meta.st_rdev))
        if kind != stat.S_IFDIR:
            first.setdefault(meta.st_ino, []).append(path.hex())
        found.append((path, kind, meta, more))
    return [
        {
            "path": path.hex(),
            "kind": kind >> 12,
            "mode": meta.st_mode & 0o7777,
            "uid": meta.st_uid,
            "gid": meta.st_gid,
            "mtime": str(meta.st_mtime_ns),
            "more": more,
            "names": sorted(first.get(meta.st_ino, [])) if kind != stat.S_IFDIR else [],
        }
        for path, kind, meta, more in found
    ]


def with_gnu(archive, root):
    run = subprocess.run(
        GNU + [archive, "-C", root],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"LC_ALL": "C", "PATH": os.environ["PATH"]},
        close_fds=False,
    )
    said = run.stderr.decode(errors="backslashreplace")
    return {"good": run.returncode == 0, "said": said}


class Careful(tarfile.TarFile):
    """tarfile writes a file's bytes into whatever has its name: a pipe would never take them, a device might."""

    def makefile(self, tarinfo, targetpath):
        if os.path.exists(targetpath) and not os.path.isfile(targetpath):
            raise FileExistsError(targetpath)
        super().makefile(tarinfo, targetpath)


def with_python(archive, root):
    # tarfile follows links and takes absolute names as they are: its root must be the process's.
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "good"
        # A negative size sends tarfile back to where it was, for ever.
        resource.setrlimit(resource.RLIMIT_CPU, (1, 1))
        resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
        try:
            with open(archive, "rb") as file:
                os.chroot(root)
                os.chdir("/")
                with Careful.open(fileobj=file, mode="r:", errorlevel=2) as tar:
                    tar.extractall("/", numeric_owner=True)
        except Exception as cause:  # Whatever it is: it has not read the archive.
            said = "%s: %s" % (type(cause).__name__, cause)
        os.write(writing, said.encode(errors="backslashreplace")[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read().decode(errors="backslashreplace")
    os.waitpid(child, 0)
    return {"good": said == "good", "said": said}


def main():
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 24, 1 << 24))
    for line in sys.stdin:
        archive = line.rstrip("\n")
        answer = {}
        for name, extract in (("gnu", with_gnu), ("python", with_python)):
            root = archive + "." + name
            os.mkdir(root)
            os.utime(root, (0, 0))
            answer[name] = extract(archive, root)
            answer[name]["tree"] = tree(os.fsencode(root))
            shutil.rmtree(root)
        print(json.dumps(answer), flush=True)


main()
