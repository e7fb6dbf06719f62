"""Where hosts share no file system: what lies below ASSAY_DATA is brought from, and kept in, the storage of
ASSAY_STORAGE."""
