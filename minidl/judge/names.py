"""Names of students and files, which may hold anything: made safe to show, and looked at for what deceives the eye."""
import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

LONGEST = 200
EUROPEAN = {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "CHEROKEE"}       # scripts that share the looks of letters
# Cyrillic and Greek letters, and digits, that look like these Latin letters.
TWINS = str.maketrans("авсԁенікӏмоԛрѕтѵхуԝһјοανιρτυχκ01", "abcdehiklmoqpstvxywhjoaviptuxkol")


def tidy(text) -> str:
    """A name in one form of Unicode, with everything that cannot be seen written out; at most 200 characters.

    Two names that differ stay different, and the result can be stored as UTF-8 anywhere.

    >>> tidy("ab\\u202ecd\\x00")
    'ab<U+202E>cd<U+0000>'
    """
    text = unicodedata.normalize("NFC", str(text)).replace("<U+", "<U+003C>U+")
    shown = "".join(f"<U+{ord(c):04X}>" if _unseen(c) else c for c in text)
    if len(shown) <= LONGEST:
        return shown
    return f"{shown[:LONGEST - 20]}...{hashlib.sha256(shown.encode()).hexdigest()[:16]}"


def oddity(text) -> str:
    """What deceives the eye in a name, in a sentence; "" if nothing does.

    >>> oddity("report.ipynb"), oddity("sоlution.ipynb")
    ('', "The name 'sоlution.ipynb' mixes letters of CYRILLIC and LATIN in one word.")
    """
    text = unicodedata.normalize("NFC", str(text))
    hidden = sorted({f"U+{ord(c):04X}" for c in text if _unseen(c)})
    if hidden:
        return f"The name '{tidy(text)}' holds characters that cannot be seen or turn the reading order: " \
               f"{', '.join(hidden[:5])}."
    for word in re.findall(r"[^\W\d_]+", text):
        scripts = sorted({unicodedata.name(c, "?").split()[0] for c in word} & EUROPEAN)
        if len(scripts) > 1:
            return f"The name '{tidy(text)}' mixes letters of {' and '.join(scripts)} in one word."
    return ""


def lookalikes(names: Iterable[str]) -> dict[str, list[str]]:
    """{name: the other names that look the same}, for the names that have such a twin.

    >>> lookalikes(["anna", "аnna", "otto"])
    {'anna': ['аnna'], 'аnna': ['anna']}
    """
    groups = defaultdict(list)
    for name in sorted(set(names)):
        groups[_looks(name)].append(name)
    return {name: [other for other in group if other != name]
            for group in groups.values() if len(group) > 1 for name in group}


def _looks(name):
    """What the eye keeps of a name: no case, no hidden characters, one letter for all that look like it."""
    text = re.sub(r"<U\+[0-9A-F]{4,6}>", "", name)
    text = unicodedata.normalize("NFKC", text).casefold().translate(TWINS)
    return " ".join("".join(c for c in text if not _unseen(c)).split())


def _unseen(c):
    """Control characters, formats such as bidi marks and zero widths, halves of surrogates, other line ends."""
    return unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")
