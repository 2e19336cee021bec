"""Faces of scans of any mesh, in any pose and unit, as a trained model shows them."""
