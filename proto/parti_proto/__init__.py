"""Code generated from `proto/parti/v1/*.proto` by `tools/generate_protos.py`. Do not edit."""
