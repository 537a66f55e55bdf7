"""The client that records: ANNOUNCE and RECORD of RFC 2326 (sections 10.3 and 10.11)."""
