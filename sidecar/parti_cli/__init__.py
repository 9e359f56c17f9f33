"""The command line program `parti` and the local development cluster behind `parti dev`."""
