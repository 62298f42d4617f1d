"""The statements, the connections and the schema."""
