"""JupyterLab on this machine only, and a notebook that is open in it.

    with serving(folder) as address:
        lab = Lab(browser, address, folder)
        with lab.opened("countdown", ["from tests.widget_example import Countdown", "c = Countdown(); c"]) as notebook:
            notebook.press("ArrowRight")
            notebook.kernel("c.index")                 # '1'

The server has folders of its own for everything, so nobody's settings are read or changed, and asks no token because
only this machine can reach it. The page's own commands are used to open, run and save; a key or a click in a widget is
a real one.
"""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import nbformat

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 90                                    # s; the machine may be busy with other tests
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "notebook-extension/tracker": {"autoStartDefaultKernel": True},
}
RUN = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.sessionContext.ready;
  const kernel = panel.sessionContext.session && panel.sessionContext.session.kernel;
  if (!kernel || kernel.connectionStatus !== "connected" || kernel.status !== "idle") return false;
  const prompts = () => [...panel.content.widgets].filter((cell) => cell.model.type === "code")
    .map((cell) => cell.promptNode ? cell.promptNode.textContent : (cell.prompt || ""));
  window.jupyterapp.commands.execute("notebook:run-all-cells");
  for (let k = 0; k < 40; k += 1) {
    if (prompts().some((text) => /\\[(\\*|\\d+)\\]/.test(text))) return true;
    await new Promise((go) => setTimeout(go, 100));
  }
  return false;
}"""
CELLS = """() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.map((c) => c.toJSON())
  .filter((c) => c.cell_type === "code").map((c) => ({ id: c.id, count: c.execution_count, outputs: c.outputs }))"""
ASK = """async (code) => {
  const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
  const future = kernel.requestExecute({ code: `print(${code})`, store_history: false });
  const heard = [];
  future.onIOPub = ({ header, content }) => {
    if (header.msg_type === "stream") heard.push(content.text);
    if (header.msg_type === "error") heard.push(content.traceback.join("\\n"));
  };
  await future.done;
  return heard.join("").trim();
}"""


@contextlib.contextmanager
def serving(folder):
    """Run a JupyterLab whose root is `folder`; gives its address. It is gone afterwards, kernels and all."""
    home = Path(tempfile.mkdtemp(prefix="minidl-lab-"))          # short: names of socket files may have 100 letters
    for name, settings in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "run",
              "IPYTHONDIR": "ipython", "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    environment = {**os.environ, **{name: str(home / place) for name, place in places.items()},
                   "PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1", "MINIDL_PROGRESS": "off"}
    sockets = ["--KernelManager.transport=ipc"] if sys.platform == "linux" else []
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
               "--IdentityProvider.token=", "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={folder}",
               *sockets]
    with open(home / "log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield _address(server, home)
    finally:
        server.terminate()                                       # it shuts its kernels down
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        shutil.rmtree(home, ignore_errors=True)


def _address(server, home):
    """The address, from the file that the server writes when it listens."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        for file in (home / "run").glob("jpserver-*.json"):
            with contextlib.suppress(ValueError):                # half written
                return json.loads(file.read_text())["url"]
        time.sleep(0.05)
    raise RuntimeError(f"JupyterLab did not start:\n{(home / 'log').read_text()[-2000:]}")


class Lab:
    """The page of one JupyterLab.

    Attributes:
        page: Playwright's page.
        problems: what went wrong in the page, and addresses elsewhere that it asked for; empty if all is well.
    """

    def __init__(self, browser, address, folder):
        self.folder, self.problems = Path(folder), []
        self.page = browser.new_page(viewport={"width": 1280, "height": 1500})
        self.page.set_default_timeout(PATIENCE * 1000)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("console", lambda m: self.problems.append(f"console: {m.text}") if m.type == "error" else None)
        self.page.on("request", lambda request: self._note_address(request.url))
        self.page.on("websocket", lambda socket: self._note_address(socket.url))
        self.page.goto(f"{address}lab?reset")
        self.page.wait_for_function("window.jupyterapp && window.jupyterapp.shell")
        self.page.evaluate("window.jupyterapp.restored.then(() => true)")
        self.page.locator("#jp-main-dock-panel").wait_for()

    def _note_address(self, url):
        parts = urlsplit(url)
        if parts.scheme not in ("blob", "data", "about") and parts.hostname != "127.0.0.1":
            self.problems.append(f"request: {url}")

    def command(self, name, **arguments):
        """Run one of JupyterLab's commands."""
        self.page.evaluate("([name, given]) => window.jupyterapp.commands.execute(name, given).then(() => null)",
                           [name, arguments])

    def theme(self, name):
        """Change to the "light" or the "dark" theme."""
        light = name == "light"
        self.command("apputils:change-theme", theme="JupyterLab Light" if light else "JupyterLab Dark")
        self.page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str(light).lower()}' && "
                                    "!document.getElementById('jupyterlab-splash')")

    @contextlib.contextmanager
    def opened(self, name, sources):
        """A Notebook of code cells, run from top to bottom."""
        cells = [nbformat.v4.new_code_cell(source, id=f"cell-{k}") for k, source in enumerate(sources)]
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
        path = self.folder / f"{name}.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
        self.problems.clear()
        self.command("docmanager:open", path=path.name, factory="Notebook")
        try:
            notebook = Notebook(self, path)
            notebook.run()
            yield notebook
            assert not self.problems, "\n".join(self.problems)
        finally:
            self.theme("light")
            self.page.evaluate("""async () => {
              const panel = window.jupyterapp.shell.currentWidget;
              await panel.context.save();
              await panel.sessionContext.shutdown();
              panel.dispose();
            }""")


class Notebook:
    """The notebook that is open; `live` is the widget in it."""

    def __init__(self, lab, path):
        self.lab, self.page, self.path = lab, lab.page, path
        self.live = self.page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .minidl-live").last

    def run(self):
        """Run all cells. Before the kernel's socket is open JupyterLab loses the command in silence, so ask again."""
        end = time.monotonic() + PATIENCE
        while not self.page.evaluate(RUN):
            assert time.monotonic() < end, "the cells did not start to run"
            self.page.wait_for_timeout(100)
        while not all(cell["count"] for cell in self.cells()):
            self._fail_on_error()
            assert time.monotonic() < end, "the cells did not end"
            self.page.wait_for_timeout(100)
        self._fail_on_error()

    def cells(self):
        """The code cells as they are: id, count, outputs."""
        return self.page.evaluate(CELLS)

    def _fail_on_error(self):
        for cell in self.cells():
            for output in cell["outputs"]:
                assert output["output_type"] != "error", "\n".join(output["traceback"])

    def kernel(self, expression):
        """What the kernel prints for an expression."""
        return self.page.evaluate(ASK, expression)

    # ------------------------------------------------------------------ the widget
    def view(self, script):
        """Evaluate JavaScript that sees the widget's `view`."""
        return self.live.evaluate(f"(root) => {{ const view = root.parentElement.view; return {script}; }}")

    def press(self, *keys):
        """Press keys with the focus on the figure, unless it is inside of it already."""
        if not self.page.evaluate("document.activeElement.closest('.md-stage') !== null"):
            self.live.locator(".md-stage").focus()
        for key in keys:
            self.page.keyboard.press(key)

    def drag_slider(self, label, share):
        """Drag the knob of a slider to a share of its way."""
        slider = self.live.get_by_label(label, exact=True)
        slider.scroll_into_view_if_needed()
        low, high, now = slider.evaluate("(s) => [Number(s.min), Number(s.max), Number(s.value)]")
        box, knob = slider.bounding_box(), 16
        x, y = box["x"] + knob / 2, box["y"] + box["height"] / 2
        way = box["width"] - knob
        self.page.mouse.move(x + way * (now - low) / (high - low), y)
        self.page.mouse.down()
        self.page.mouse.move(x + way * share, y, steps=5)
        self.page.mouse.up()

    def said(self):
        """The line that a screen reader reads out."""
        return self.live.locator(".md-said").text_content()

    def labels(self):
        """key -> what is known about each item that is drawn."""
        return self.view("Object.fromEntries(view.items().map((i) => [i.dataset.key, i.getAttribute('aria-label')]))")

    def until(self, condition, seconds=PATIENCE):
        """Wait until something holds; asks again every 50 ms."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"still not so after {seconds} s"
            self.page.wait_for_timeout(50)

    def settled(self):
        """Wait until the answer to the latest change has come."""
        self.until(lambda: self.view("!view.stale && !Object.keys(view.pending).length"))

    def shot(self, folder, name):
        """Pictures of the widget in both themes."""
        for theme in ("light", "dark"):
            self.lab.theme(theme)
            self.live.screenshot(path=folder / f"{name}_{theme}.png")
        self.lab.theme("light")

    def saved(self):
        """Save; gives the notebook as it is in the file."""
        self.lab.command("docmanager:save")
        return nbformat.read(self.path, as_version=4)
