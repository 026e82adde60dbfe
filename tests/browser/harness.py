"""A page with one live widget on it, without a notebook: the widget's own module and style sheet, a model in the page
that behaves like a front end's, and the Python widget behind it.

    with opened(browser, BackpropPlayer(loss)) as live:
        live.press("ArrowRight")
        assert live.widget.index == 1              # what the page does reaches Python, after a moment
        live.widget.last()                         # and the other way round
        live.shot("folder/picture.png")

At the end it complains about anything that went wrong in the page, and about every request that left it.
"""
import contextlib
import json
import time

from tools.chromium import found

PAGE = """<!doctype html><html><head><meta charset="utf-8"><style>CSS</style></head>
<body data-jp-theme-light="LIGHT" style="background: PAPER"><div id="widget"></div></body></html>"""
MODEL = """async ({ code, state }) => {
  const listeners = new Map(), dirty = new Set();
  const fire = (name) => {
    for (const event of [`change:${name}`, "change"]) for (const f of [...(listeners.get(event) || [])]) f();
  };
  const put = (name, value) => {
    if (JSON.stringify(state[name]) === JSON.stringify(value)) return false;
    state[name] = value;
    return true;
  };
  window.receive = (changes) => Object.entries(changes).filter(([n, v]) => put(n, v)).forEach(([n]) => fire(n));
  window.sent = 0;
  window.model = {
    get: (name) => state[name],
    set: (name, value) => { if (put(name, value)) { dirty.add(name); fire(name); } },
    save_changes: () => {
      const changes = Object.fromEntries([...dirty].map((name) => [name, state[name]]));
      dirty.clear();
      window.sent += 1;
      if (window.kernel !== false) window.toPython(changes).then(window.receive);
    },
    on: (event, f) => listeners.set(event, [...(listeners.get(event) || []), f]),
    off: (event, f) => listeners.set(event, (listeners.get(event) || []).filter((g) => g !== f)),
    send: () => {},
  };
  const address = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const module = (await import(address)).default;
  const el = document.getElementById("widget");
  window.unmount = await module.render({ model: window.model, el });
  window.view = el.view;
}"""
CHROMIUM = found()
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]


class Live:
    """A widget and its page.

    Attributes:
        widget: the Python widget; a change of its traits is sent to the page at once.
        page: Playwright's page; `page.locator(...)` finds what is in it.
        requests: addresses of requests that left the page.
        problems: errors of the page.
    """

    def __init__(self, page, widget):
        self.page, self.widget, self.requests, self.problems, self._inside = page, widget, [], [], False
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda m: self.problems.append(m.text) if m.type == "error" else None)
        page.on("request", self._note_request)

    def _note_request(self, request):
        if not request.url.startswith(("blob:", "data:", "about:")):
            self.requests.append(request.url)

    def mount(self, theme="light"):
        """Put the widget on the page."""
        light = theme == "light"
        page = PAGE.replace("CSS", str(self.widget._css)).replace("LIGHT", "true" if light else "false")
        self.page.set_content(page.replace("PAPER", "#ffffff" if light else "#111111"))
        self.page.expose_function("toPython", self._from_page)
        self.page.evaluate(MODEL, {"code": str(self.widget._esm), "state": self.state()})
        self.widget.observe(self._to_page)

    def state(self):
        """The traits that the page gets, as JSON values."""
        return {name: value for name, value in self.widget.get_state().items()
                if not name.startswith("_") and name not in ("layout", "tabbable", "tooltip")}

    def _from_page(self, changes):
        self._inside = True
        try:
            self.widget.set_state(changes)
        finally:
            self._inside = False
        return self.state()

    def _to_page(self, change):
        if not self._inside and change["name"] in self.widget.keys:
            self.page.evaluate("state => window.receive(state)", self.state())

    # ------------------------------------------------------------------ what a test does
    def press(self, *keys):
        """Press keys, one after the other, with the focus on the figure unless it is inside already."""
        if not self.page.evaluate("document.activeElement.closest('.minidl-live') !== null"):
            self.page.locator(".md-stage").focus()
        for key in keys:
            self.page.keyboard.press(key)

    def said(self):
        """The line that a screen reader reads out."""
        return self.page.locator(".md-said").text_content()

    def until(self, condition, seconds=5):
        """Wait until Python's side of things is as it should be."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"still not so after {seconds} s"
            self.page.wait_for_timeout(20)

    def settled(self):
        """Wait until the answer to the latest change has come."""
        self.page.wait_for_function("!window.view.stale && !Object.keys(window.view.pending).length")

    def overhang(self, items=".md-stage svg text", slack=0):
        """(pixels by which the page is wider than its window, how many of these items stick out by over `slack`)."""
        return self.page.evaluate("""([items, slack]) => [document.documentElement.scrollWidth - window.innerWidth,
            [...document.querySelectorAll(items)].map((item) => item.getBoundingClientRect())
                .filter((b) => b.left < 0 || b.right > window.innerWidth + slack).length]""", [items, slack])

    def shot(self, path):
        """A picture of the widget."""
        self.page.locator("#widget").screenshot(path=path)


@contextlib.contextmanager
def opened(browser, widget, theme="light", calm=False, width=760):
    """A Live widget; `calm` for a reader who wants no motion, `width` of the window in px."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme,
                                  reduced_motion="reduce" if calm else "no-preference")
    try:
        live = Live(context.new_page(), widget)
        live.mount(theme)
        yield live
        assert not live.problems, json.dumps(live.problems, indent=2)
        assert not live.requests, live.requests
    finally:
        widget.unobserve_all()
        context.close()
