"""Floor 4: the kernel adapter: unpack, call, pack, errno."""
