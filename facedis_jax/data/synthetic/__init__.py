"""Examples whose factors are all known: faces, images and videos of a linear face model, and digits."""
