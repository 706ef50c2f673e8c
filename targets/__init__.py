"""Floor 2: devices as data. One TOML file a device, loaded into a record without defaults."""
