"""Real processes under real faults: servers killed, paused and starved under load, and an auditor checks the rest."""
