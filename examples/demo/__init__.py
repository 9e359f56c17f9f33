"""The demo: a real cluster grows, shrinks and survives a crash, and loses nothing."""
