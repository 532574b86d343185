"""Links that mails carry: derived when sending, found again by their code, dead with the account's epoch."""
