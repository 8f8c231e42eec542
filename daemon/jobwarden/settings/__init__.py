"""The daemon's settings: every option once, and the one way to read them from flags, environment and file."""

from jobwarden.settings.load import examine_settings, load_settings
from jobwarden.settings.model import Settings

__all__ = ["Settings", "examine_settings", "load_settings"]
