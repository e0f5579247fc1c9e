"""The Python face: ONE, One and OneAlyx, with a module for each of the reference client's. Loaded by `onefs`."""
