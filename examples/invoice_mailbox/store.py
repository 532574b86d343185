"""The invoices of a folder of CFDI files."""
