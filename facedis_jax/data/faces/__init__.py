"""Registered face meshes, from the files of a data set to a FaceSet in mm."""
