"""What experiments share: the command line, the run, its batches, and runs on faces, images and videos."""
