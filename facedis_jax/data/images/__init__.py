"""Images, from the files of a data set to an ImageSet."""
