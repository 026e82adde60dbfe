"""What a widget is where anywidget is missing: everything but alive. Its picture stands still, and says so."""
import contextlib

import traitlets as tr

HINT = 'This picture stands still. To play it and to change it: pip install "minidl[lab]"'


class Still(tr.HasTraits):
    """Stands in for `anywidget.AnyWidget`: traits without a page that hears of them."""

    def hold_sync(self):
        """There is nobody to send to."""
        return contextlib.nullcontext()

    def set_state(self, sync_data):
        """Set several traits, as a page would."""
        for name, value in sync_data.items():
            setattr(self, name, value)

    def close(self):
        """There is nothing to take away."""

    def _repr_mimebundle_(self, **kwargs):
        return {"text/html": f"{self.svg()}<p>{HINT}</p>"}, {}
