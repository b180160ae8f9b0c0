"""From a cover to a release: its labels, store-ready files, the cover inside a song, choosing a variant."""
