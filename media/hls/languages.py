"""Languages of tracks as playlists name them: ISO 639-2 codes to RFC 5646 tags and names."""

_KNOWN = {  # both codes where ISO 639-2 has a bibliographic one
    "ara": ("ar", "العربية"),
    "bul": ("bg", "Български"),
    "ces cze": ("cs", "Čeština"),
    "dan": ("da", "Dansk"),
    "deu ger": ("de", "Deutsch"),
    "ell gre": ("el", "Ελληνικά"),
    "eng": ("en", "English"),
    "est": ("et", "Eesti"),
    "fas per": ("fa", "فارسی"),
    "fin": ("fi", "Suomi"),
    "fra fre": ("fr", "Français"),
    "gle": ("ga", "Gaeilge"),
    "heb": ("he", "עברית"),
    "hin": ("hi", "हिन्दी"),
    "hrv": ("hr", "Hrvatski"),
    "hun": ("hu", "Magyar"),
    "ind": ("id", "Indonesia"),
    "ita": ("it", "Italiano"),
    "jpn": ("ja", "日本語"),
    "kor": ("ko", "한국어"),
    "lav": ("lv", "Latviešu"),
    "lit": ("lt", "Lietuvių"),
    "nld dut": ("nl", "Nederlands"),
    "nor": ("no", "Norsk"),
    "pol": ("pl", "Polski"),
    "por": ("pt", "Português"),
    "ron rum": ("ro", "Română"),
    "rus": ("ru", "Русский"),
    "slk slo": ("sk", "Slovenčina"),
    "slv": ("sl", "Slovenščina"),
    "spa": ("es", "Español"),
    "srp": ("sr", "Српски"),
    "swe": ("sv", "Svenska"),
    "tha": ("th", "ไทย"),
    "tur": ("tr", "Türkçe"),
    "ukr": ("uk", "Українська"),
    "vie": ("vi", "Tiếng Việt"),
    "zho chi": ("zh", "中文"),
}
_TAGS = {code: found for codes, found in _KNOWN.items() for code in codes.split()}
_NAMES = dict(_KNOWN.values())
_NO_LANGUAGE = frozenset({"und", "mul", "mis", "zxx", "qaa"})
_CODE_LENGTHS = (2, 3)


def language_tag(code: str) -> str:
    """The RFC 5646 tag of an ISO 639 code; empty for what names no language."""
    code = code.lower()
    if len(code) not in _CODE_LENGTHS or not (code.isascii() and code.isalpha()):
        return ""
    if code in _NO_LANGUAGE:
        return ""
    return _TAGS[code][0] if code in _TAGS else code


def language_name(tag: str) -> str:
    """What a tag's language calls itself; the tag where that is not known."""
    return _NAMES.get(tag, tag)
