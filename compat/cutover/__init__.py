"""Who serves while the service moves: changes of the mode on record, what takes the engine out of service, the evidence."""
