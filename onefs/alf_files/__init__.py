"""ALF files on disk: the parts of their paths, their contents, and the objects that several of them make."""
