"""Videos, from the files of a data set to a ClipSet."""
