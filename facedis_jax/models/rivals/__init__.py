"""Networks of the methods that both papers compare with: of `faces` and of `images`."""
