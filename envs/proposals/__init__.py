"""Problems that a policy states as text, and the gate that decides which of them count."""
