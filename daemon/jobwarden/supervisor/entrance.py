"""The first lines that a pool's interpreter runs: is this jobwarden's partner? Then it becomes the template.

The launcher hands this text to the interpreter with `-c`, because that one may be another version of Python, may have
another jobwarden or none, and may run as a user who cannot read ours. So it is standard library only, reads under
Python 3.6 too, and tells what is wrong in a frame of `wire.messages.Unfit`, written by hand; a test compares.
Arguments: CONTROL_FD WIRE_VERSION TERMS.
"""

import importlib
import os
import socket
import struct
import sys
from typing import NoReturn

EXIT_UNFIT = 76
OLDEST_PYTHON = (3, 11)


def packed(text: str) -> bytes:
    """A string as MessagePack has it (str 16)."""
    data = text[:4096].encode(errors="replace")
    return b"\xda" + struct.pack(">H", len(data)) + data


def refuse(kind: str, detail: str) -> NoReturn:
    """Tell the supervisor why no template comes of this, and end."""
    body = b"\x93" + b"".join(packed(each) for each in ("Unfit", kind, detail))
    with socket.socket(fileno=int(sys.argv[1])) as stream:
        stream.sendall(struct.pack(">I", len(body)) + body)
    os._exit(EXIT_UNFIT)


if __name__ == "__main__":
    if sys.path[:1] == [""]:  # the working directory is no place to import from; `-P` is unknown to older Pythons
        del sys.path[0]
    if sys.version_info < OLDEST_PYTHON:
        refuse("python", ".".join(map(str, sys.version_info[:3])))
    try:
        theirs = importlib.import_module("jobwarden.wire.messages").WIRE_VERSION
        if int(sys.argv[2]) != theirs:
            refuse("version", importlib.import_module("jobwarden.version").__version__)
        template = importlib.import_module("jobwarden.worker.template")
    except ModuleNotFoundError as error:
        refuse("missing" if error.name == "jobwarden" else "broken", str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, this is not our partner
        refuse("broken", f"{type(error).__name__}: {error}")
    sys.exit(template.main(sys.argv[3:]))
