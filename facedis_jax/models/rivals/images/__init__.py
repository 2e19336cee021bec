"""Networks of the methods that the deformable generator's paper compares with, and of later ones."""
