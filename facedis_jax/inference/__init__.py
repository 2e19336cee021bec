"""A trained model at work: examples to codes and codes to examples."""
