"""What a run survives, as commands: kills, damaged checkpoints, full disks, other machines."""
