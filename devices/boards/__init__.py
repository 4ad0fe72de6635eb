"""Descriptions of the boards that binas knows, one TOML file each."""
