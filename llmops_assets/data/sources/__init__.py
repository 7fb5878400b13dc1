"""Where records come from: files, stores, the hub, registries, the running Python; each read, pinned and hashed."""
