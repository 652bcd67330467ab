"""Files that people write: tables, YAML and TOML, and the names in them. What cannot be meant is refused with its line."""
