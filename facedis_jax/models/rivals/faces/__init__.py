"""Networks of the methods that the IB-VAE's paper compares with, and the operators on meshes that they are made of."""
