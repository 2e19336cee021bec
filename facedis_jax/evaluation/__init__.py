"""What is measured of a trained model, and of the methods that it is compared with."""
