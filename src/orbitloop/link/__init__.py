"""Contact-aware, persistent, resumable transfer of files between satellite and ground."""
