"""What recipes that ask models behind endpoints share: the bill, the ledger of requests, and the words of failures."""
