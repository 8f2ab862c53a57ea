"""Many passes, one piece: loops whose ends meet, pieces longer than a pass, a beginning and an end."""
