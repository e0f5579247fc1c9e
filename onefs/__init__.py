"""onefs mounts an ALF archive as a file system whose every file is fetched and verified on demand."""

__version__ = "0.1.0"
