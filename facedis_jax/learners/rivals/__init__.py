"""The methods that both papers compare with, as learners of the same contract: of `faces` and of `images`."""
