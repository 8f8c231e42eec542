"""The threshold of a pool that runs as another user: gives up all rights for good, then becomes the pool's interpreter.

Run as `python -I -S -E runas.py ...` by the supervisor's own interpreter. Nothing of the pool may run before this is
through: no `site`, no `.pth` file, no environment variable, no module but the standard library's. Once the user is
another one nothing may be imported any more, since the daemon's interpreter may be out of that user's reach (an
encoding counts as an import, so files are read as bytes). What goes wrong is told on the control socket in a frame of
`wire.messages.Unfit`, written by hand here because this file cannot import the package; a test compares.
"""

import ctypes
import os
import socket
import stat
import struct
import sys

EXIT_UNFIT = 76
"""Repeated in `wire/exits.py`."""
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
CAPABILITY_VERSION_3 = 0x20080522
NO_CAPABILITIES = (ctypes.c_uint32 * 6)()
SETS = (b"CapInh", b"CapPrm", b"CapEff", b"CapAmb")
LONGEST_TEXT = 4096
_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> int:
    """`exec UID GID GROUPS CONTROL_FD COMMAND...` or `peek UID GID GROUPS PLACE PID...`; commas join GROUPS."""
    verb, rest = arguments[0], arguments[4:]
    uid, gid = map(int, arguments[1:3])
    groups = [int(each) for each in arguments[3].split(",") if each]
    if verb == "peek":
        become(uid, gid, groups)
        return peek(rest[0].encode(), [int(each) for each in rest[1:]])
    keep_for_writing_only()
    try:
        become(uid, gid, groups)
    except OSError as error:
        return refuse(int(rest[0]), "identity", str(error.strerror or error))
    leave_unreachable_folder()
    return start(rest[1:], control=int(rest[0]))


def keep_for_writing_only() -> None:
    """What is printed goes where the daemon's messages go; but that may be root's terminal, or his log.

    A descriptor is worth more than the file's mode: so this one neither reads nor writes over what is there.
    """
    for number in (1, 2):
        mode = os.fstat(number).st_mode
        if stat.S_ISREG(mode) or stat.S_ISCHR(mode):
            try:
                fresh = os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_APPEND | os.O_NOCTTY)
            except OSError:  # opened by somebody with more rights than the daemon has
                continue
            os.dup2(fresh, number)
            os.close(fresh)


def become(uid: int, gid: int, groups: list[int]) -> None:
    """Take these ids, real, effective and saved, and no capability. Raises OSError if anything is left of before.

    Groups first, the user last: who is somebody else may not change groups any more (credentials(7)). From one ordinary
    user to another no capability goes by itself (capabilities(7)), and ambient ones would survive the exec.
    """
    if sorted(os.getgroups()) != sorted(groups):
        os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if uid != 0:
        drop_capabilities()
    require_nothing_left(uid, gid, groups)


def drop_capabilities() -> None:
    """Permitted, effective, inheritable and ambient ones, of this process and of all that it becomes."""
    call(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    call(_libc.capset(ctypes.byref(header), ctypes.byref(NO_CAPABILITIES)))


def call(result: int) -> None:
    """Raise OSError if a call of the C library has failed."""
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def require_nothing_left(uid: int, gid: int, groups: list[int]) -> None:
    """The kernel's own word for it, before anything of the pool runs."""
    ids = os.getresuid() == (uid,) * 3 and os.getresgid() == (gid,) * 3 and sorted(os.getgroups()) == sorted(groups)
    if not ids or (uid != 0 and any(capabilities())):
        message = "rights of the daemon are left"
        raise OSError(message)


def capabilities() -> list[int]:
    """The four sets that this process holds, or passes on (proc(5), status)."""
    fields = dict(line.split(b":", 1) for line in contents("/proc/self/status").splitlines() if b":" in line)
    return [int(fields[each], 16) for each in SETS]


def leave_unreachable_folder() -> None:
    """A working directory that this user may not enter would fail every shell: go to the root then."""
    if not os.access(".", os.X_OK):
        os.chdir("/")


def start(command: list[str], *, control: int) -> int:
    """Become this program; returns only if that fails."""
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        return refuse(control, "interpreter", str(error.strerror))


def refuse(control: int, kind: str, detail: str) -> int:
    """Tell the supervisor why no template comes of this."""
    body = b"\x93" + b"".join(packed(each) for each in ("Unfit", kind, detail))
    with socket.socket(fileno=control) as stream:
        stream.sendall(struct.pack(">I", len(body)) + body)
    return EXIT_UNFIT


def packed(text: str) -> bytes:
    """A string as MessagePack has it (str 16)."""
    data = text[:LONGEST_TEXT].encode(errors="replace")
    return b"\xda" + struct.pack(">H", len(data)) + data


def peek(place: bytes, pids: list[int]) -> int:
    """Write `PID DEVICE INODE ENVIRONMENT` in a line for each process that shows it, then `end`.

    The environment is in hexadecimal; device and inode are those of `place` as the process finds it, or `-`.
    """
    for pid in pids:
        try:
            block = contents(f"/proc/{pid}/environ")
        except OSError:
            continue
        try:
            there = os.stat(b"/proc/%d/root%s" % (pid, place))  # noqa: PTH116 - as in `contents`
            found = b"%d %d" % (there.st_dev, there.st_ino)
        except OSError:
            found = b"- -"
        write_all(b"%d %s %s\n" % (pid, found, block.hex().encode()))
    write_all(b"end\n")
    return 0


def write_all(data: bytes) -> None:
    """To standard output, which may be a pipe that takes less at once."""
    while data:
        data = data[os.write(1, data) :]


def contents(path: str) -> bytes:
    """A small file."""
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib takes longer to import than all else here
        return file.read()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
