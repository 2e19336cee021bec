"""Where examples come from: file formats, TFDS builders, synthetic faces, Grain pipelines."""
