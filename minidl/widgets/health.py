"""How a training run is doing, in plain words, each finding with what to try.

    health(log)          the Findings up to the last step of a RunLog
    health(log, 120)     as they were at step 120

The limits are rules of thumb, written down here by name: they point at what to look at, they prove nothing.
"""
import math
from dataclasses import dataclass

from ..viz import theme

DEAD = 0.5                            # share of a layer's ReLUs that give 0 for a whole batch
FAST, SLOW = 0.1, 1e-5                # of a weight's length, moved by one step; about 0.001 is usual
EXPLODES, WITHIN = 100.0, 10          # times that the gradient grew, in so many steps
VANISHES = 1e-3                       # gradient of the first layer by that of the last
OVERFITS, LATER = 1.1, 3              # validation loss by its best, so many reports later
STUCK = 50                            # steps after which a loss should have fallen
CHECKS = ("numbers that are broken", "gradients that are missing", "gradients that explode", "gradients that vanish",
          "dead ReLUs", "step sizes", "overfitting", "a loss that does not fall")


@dataclass(frozen=True)
class Finding:
    """Something that deserves a look.

    Attributes:
        kind: one of CHECKS.
        text: what was seen, in one sentence.
        advice: what to try.
    """

    kind: str
    text: str
    advice: str


def health(log, upto=None):
    """The Findings of a RunLog at a step, the gravest first; none if no check found anything."""
    rows = log.rows[:upto]
    looks = [row for row in rows if row.layers is not None]
    if not rows or not looks:
        return []
    checks = (_broken, _missing, _explodes, _vanishes, _dead, _sizes, _overfits, _stuck)
    return [found for kind, check in zip(CHECKS, checks) for found in check(kind, rows, looks)]


def health_line(findings, row):
    """One line for all findings."""
    values = ", ".join(f"{name} {theme.number(value)}" for name, value in row.values.items())
    head = f"At training step {row.step}: {values or 'no value was given'}."
    if not findings:
        return f"{head} None of {len(CHECKS)} checks found a fault."
    more = f" And {len(findings) - 1} more, see the list." if len(findings) > 1 else ""
    return f"{head} {findings[0].text}{more}"


# ---------------------------------------------------------------------- the checks
def _broken(kind, rows, looks):
    bad = [k for k, row in enumerate(rows) if _bad(row)]
    if not bad:
        return
    row, after = rows[bad[0]], len(rows) - bad[0] - 1
    names = [name for name, value in row.values.items() if not math.isfinite(value)]
    what = f"{names[0]} is {theme.number(row.values[names[0]])}" if names else "the gradient is not a number"
    when = f"since step {row.step}" if len(bad) == after + 1 else (
        f"at step {row.step}, and at {len(bad) - 1} of the {after} steps after it")
    origin = next((r.born for r in rows if r.born), "")
    tensors = [name for name, layer in (row.layers or {}).items() if layer.gradient and layer.gradient.broken]
    where = f" The first one seen: {origin}." if origin else ""
    if tensors and not names and not origin:
        where = f" The first broken gradients: {_some(tensors)}."
    yield Finding(kind, f"{what[0].upper() + what[1:]} {when}.{where}",
                  "a smaller learning rate; and run the step under autograd.detect_anomaly(), which stops at the op "
                  "that makes the first NaN")


def _bad(row):
    """Whether a value or the gradient is NaN or infinite."""
    return not all(map(math.isfinite, row.values.values())) or not math.isfinite(row.norm or 0.0)


def _missing(kind, rows, looks):
    absent = [name for name, layer in looks[-1].layers.items() if layer.gradient is None]
    if len(absent) == len(looks[-1].layers):
        yield Finding(kind, "No parameter had a gradient when step() was called.",
                      "call board.step(...) after backward() and before zero_grad()")
    elif absent:
        yield Finding(kind, f"No gradient reached {_some(absent)}.",
                      "see whether the loss depends on them, or whether they are frozen on purpose")


def _explodes(kind, rows, looks):
    """A gradient that grew many times over in a few steps, not long ago."""
    norms = [(row.step, row.norm) for row in rows if row.norm is not None and math.isfinite(row.norm)]
    for k in range(len(norms) - 1, 0, -1):
        earlier = norms[max(0, k - WITHIN):k]
        step, least = min(earlier, key=lambda pair: pair[1])
        if least > 0 and norms[k][1] > EXPLODES * least:
            yield Finding(kind, f"The gradient grew {theme.number(norms[k][1] / least)}-fold from step {step} to "
                                f"step {norms[k][0]}.",
                          "nn.utils.clip_grad_norm_(model.parameters(), 1.0) before the step, or a smaller "
                          "learning rate")
            return
        if len(norms) - k > 5 * WITHIN:
            return                                    # long ago


def _vanishes(kind, rows, looks):
    slopes = [(name, layer.gradient.rms) for name, layer in looks[-1].layers.items()
              if layer.gradient is not None and name.endswith("weight") and math.isfinite(layer.gradient.rms)]
    if len(slopes) > 1 and 0 <= slopes[0][1] < VANISHES * slopes[-1][1]:
        shrinks = theme.number(slopes[-1][1] / slopes[0][1]) if slopes[0][1] else "∞"
        yield Finding(kind, f"On its way from {slopes[-1][0]} back to {slopes[0][0]} the gradient becomes {shrinks} "
                            "times smaller.",
                      "ReLU instead of sigmoid or tanh, another init, normalisation, or shortcuts")


def _dead(kind, rows, looks):
    for name, (dead, units) in looks[-1].dead.items():
        if dead <= DEAD * units:
            continue
        since = looks[-1].step
        for look in reversed(looks):
            if name in look.dead and look.dead[name][0] <= DEAD * look.dead[name][1]:
                break
            since = look.step if name in look.dead else since
        yield Finding(kind, f"{name}: {100 * dead / units:.0f} % of its {units} ReLUs gave 0 for the whole batch, "
                            f"more than half since step {since}.",
                      "a smaller learning rate, a smaller or no negative bias, or nn.LeakyReLU")


def _sizes(kind, rows, looks):
    moved = {name: layer.moved for name, layer in looks[-1].layers.items()
             if layer.moved is not None and name.endswith("weight") and math.isfinite(layer.moved)}
    fast = [name for name, share in moved.items() if share > FAST]
    if fast and looks[-1].step > WITHIN:
        top = max(fast, key=moved.get)
        yield Finding(kind, f"One step moves {_some(fast)} by up to {theme.number(moved[top])} of the length; about "
                            "0.001 is usual.", "a learning rate ten times smaller")
    elif moved and 0 < max(moved.values()) < SLOW:
        yield Finding(kind, f"One step moves no weight by more than {theme.number(max(moved.values()))} of its length; "
                            "about 0.001 is usual.", "a learning rate ten times larger")


def _overfits(kind, rows, looks):
    name = next((n for row in rows for n in row.values if n in ("val_loss", "valid_loss", "test_loss")), None)
    told = [row for row in rows if name in row.values and math.isfinite(row.values[name])]
    if len(told) <= LATER:
        return
    best = min(told, key=lambda row: row.values[name])
    now = told[-1].values[name]
    recent = [row.values[name] for row in told[-LATER:]]
    if told.index(best) < len(told) - LATER and min(recent) > OVERFITS * best.values[name]:
        before, after = _mean_loss(rows, best.step), _mean_loss(rows, rows[-1].step)
        if before is None or after is None or after < before:
            yield Finding(kind, f"{name} was best at step {best.step} with {theme.number(best.values[name])} and is "
                                f"{theme.number(now)} now, while the training loss falls.",
                          f"stop at step {best.step}, more data, dropout, or weight decay")


def _stuck(kind, rows, looks):
    if len(rows) < STUCK:
        return
    first, now = _mean_loss(rows, 10), _mean_loss(rows, rows[-1].step)
    if first is not None and now is not None and now >= first:
        yield Finding(kind, f"The loss has not fallen: {theme.number(first)} over the first steps, {theme.number(now)} "
                            f"over the last, after {rows[-1].step} steps.",
                      "another learning rate; and see whether optimizer.step() and backward() are called")


def _mean_loss(rows, step, over=10):
    """The mean loss of the steps up to `step`; None if there is no finite one."""
    values = [row.values.get("loss", math.nan) for row in rows[max(0, step - over):step]]
    values = [value for value in values if math.isfinite(value)]
    return sum(values) / len(values) if values else None


def _some(names, most=3):
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
