"""AWS, rehearsed on one machine: the lab runs with `TARGET=aws`, and every name of AWS's leads to the emulator."""
