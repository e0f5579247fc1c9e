"""What SOURCE means: finding out what stands there, its tables, its logins, and where its files are."""
