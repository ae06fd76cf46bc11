"""What both runtimes promise: the contract, the store and the rules. Imports nothing else of ours and never Prefect."""
