"""What this process holds in memory."""


def resident_bytes() -> int | None:
    """Resident set size; None where it cannot be known."""
    import psutil

    try:
        return int(psutil.Process().memory_info().rss)
    except psutil.Error:
        return None
