"""Floor 4: run firmware somewhere (host, emulator, board), compare it with the golden runtime, measure it."""
