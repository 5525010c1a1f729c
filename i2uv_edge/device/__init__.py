"""The phone: what will run where on it, and what runs measured on it and in its place."""
