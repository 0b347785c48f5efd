"""What is learned: one file a method. Plain torch; imports neither ray nor optuna nor the orchestrator."""
