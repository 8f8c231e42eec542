"""The version of this program, written once; the build reads it from here."""

VERSION = "0.1.0"
