"""Which applications a person has let in; seen and revoked by the person."""
