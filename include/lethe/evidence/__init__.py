"""Evidence: the record of runs, the ledger that chains it, certificates, and proofs for single records."""
