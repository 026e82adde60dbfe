"""Pictures: of memory, of training, of what a network has learned; and the source of an op on the page.

Needs matplotlib (`pip install "minidl[lab]"`), which is imported when the first picture is drawn.
"""
