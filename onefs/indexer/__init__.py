"""From a folder of ALF files to cache tables; and the files of a cache that its tables do not list."""
