"""Secrets from files: systemd's credentials, and the file that `database_password_file` names.

`$CREDENTIALS_DIRECTORY` holds a file for each `LoadCredential=` of the unit (systemd.exec(5), CREDENTIALS); those named
like an option of `CREDENTIALS` give its value. No sentence made here holds what stands in a file. Called by `gather`.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from jobwarden.settings.found import Found
from jobwarden.settings.opened import read_text
from jobwarden.settings.storage import PASSWORD, PASSWORD_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

CREDENTIALS_VARIABLE = "CREDENTIALS_DIRECTORY"

CREDENTIALS = ("database_url", PASSWORD)
"""Options that a credential may give."""

_NEAR = 0.8


def from_credentials(problems: list[str]) -> dict[str, Found]:
    """The options that systemd's credentials give; other programs' credentials are none of our business."""
    folder = os.environ.get(CREDENTIALS_VARIABLE)
    if not folder:
        return {}
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names are wanted
    except FileNotFoundError:
        return {}
    except OSError as error:
        problems.append(
            f"environment variable {CREDENTIALS_VARIABLE}: {folder} cannot be listed ({error.strerror}); start "
            "jobwarden as the unit's user, or unset the variable"
        )
        return {}
    problems.extend(_nearly(name) for name in names if _is_nearly(name))
    found = {}
    for name in (name for name in CREDENTIALS if name in names):
        place = f"credential {name}"
        value = _secret(Path(folder, name), place, problems, way_out="see LoadCredential= in the unit")
        if value is not None:
            found[name] = Found(value, place)
    return found


def with_password(options: Mapping[str, Found], problems: list[str]) -> dict[str, Found]:
    """The same options, and the password out of the file that one of them names."""
    named = options.get(PASSWORD_FILE)
    if named is None or not isinstance(named.value, str | Path) or str(named.value).strip().lower() in {"", "none"}:
        return dict(options)
    place = f"{named.place}, file {named.value}"
    way_out = "give a readable file with the password in its only line"
    value = _secret(Path(named.value), place, problems, way_out=way_out)
    return dict(options) if value is None else {**options, PASSWORD: Found(value, place)}


def _secret(path: Path, place: str, problems: list[str], *, way_out: str) -> str | None:
    """What stands in the file, without the line end that editors leave."""
    try:
        text = read_text(path)
    except UnicodeDecodeError:
        problems.append(f"{place}: is not UTF-8 text; save it as UTF-8")
        return None
    except OSError as error:
        problems.append(f"{place}: cannot be read ({error.strerror}); {way_out}")
        return None
    secret = text.removesuffix("\n").removesuffix("\r")
    if "\n" in secret or not secret.strip():
        problems.append(f"{place}: {'has more than one line' if secret.strip() else 'is empty'}; {way_out}")
        return None
    return secret


def _is_nearly(name: str) -> bool:
    return name not in CREDENTIALS and bool(_meant(name))


def _meant(name: str) -> list[str]:
    plain = name.lower().replace("-", "_").replace(".", "_").removeprefix("jobwarden_")
    return get_close_matches(plain, CREDENTIALS, n=1, cutoff=_NEAR)


def _nearly(name: str) -> str:
    return f"credential {name}: no option has this name; did you mean {_meant(name)[0]}?"
