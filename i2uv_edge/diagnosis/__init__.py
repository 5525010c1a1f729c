"""What is installed, what works, and what to install for the rest."""
