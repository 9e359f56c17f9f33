"""The version of this program; a test compares it with the packaging."""

VERSION = "0.1.0"
