"""Floor 3: what the mount looks like, without knowing the kernel's protocol."""
