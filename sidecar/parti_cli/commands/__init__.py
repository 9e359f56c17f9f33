"""The commands of `parti`, by what they do."""
