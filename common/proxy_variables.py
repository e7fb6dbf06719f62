"""Name the variables by which a process learns its way through proxies. They may hold a password."""

_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
PROXIES = (*_NAMES, *(name.lower() for name in _NAMES))  # only for who leaves this machine
