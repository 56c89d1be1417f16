"""Checks the SPF, DKIM and DMARC records of MAIL_FROM's domain, if DNS answers."""

from gatepost_idp.operate.doctor.finding import Check, Fault, Finding
from gatepost_idp.operate.doctor.outside.visit import Visit

SPF_MISSING = Fault(
    "spf-missing",
    "Mail arrives in the spam folder, or not at all.",
    "a TXT record that begins with v=spf1 and names the mail server",
    "DNS: SPF of MAIL_FROM's domain",
    "example.com. TXT “v=spf1 include:_spf.your-mail-provider.example -all”",
    "warning",
)
DKIM_MISSING = Fault(
    "dkim-missing",
    "Mail arrives in the spam folder, or not at all.",
    "the mail server's public key",
    "DNS: DKIM, or DKIM_SELECTOR",
    "SELECTOR._domainkey.example.com. TXT “v=DKIM1; p=…”",
    "warning",
)
DMARC_MISSING = Fault(
    "dmarc-missing",
    "Mail arrives in the spam folder; large mail providers want this record.",
    "a TXT record that begins with v=DMARC1",
    "DNS: DMARC of MAIL_FROM's domain",
    "_dmarc.example.com. TXT “v=DMARC1; p=quarantine”",
    "warning",
)
_PRIVATE = (".localhost", ".internal", ".local", ".test", ".example", ".invalid")


async def _records(visit: Visit) -> list[Finding]:
    if visit.configured is None or not visit.configured.smtp_host:
        return []
    domain = visit.configured.mail_from.rpartition("@")[2].strip(" >").lower()
    if "." not in domain or f".{domain}".endswith(_PRIVATE):
        return []
    asked = [(SPF_MISSING, [domain], "v=spf1"), (DMARC_MISSING, _dmarc_of(domain), "v=DMARC1")]
    if selector := visit.configured.dkim_selector:
        asked.insert(1, (DKIM_MISSING, [f"{selector}._domainkey.{domain}"], "p="))
    return [finding for fault, names, mark in asked if (finding := await _missing(visit, fault, names, mark))]


def _dmarc_of(domain: str) -> list[str]:
    """The DMARC names of the domain and of those above it, whose policies also apply (RFC 7489 section 6.6.3)."""
    labels = domain.split(".")
    return ["_dmarc." + ".".join(labels[at:]) for at in range(len(labels) - 1)]


async def _missing(visit: Visit, fault: Fault, names: list[str], mark: str) -> Finding | None:
    """A finding if no TXT record has ``mark`` (RFC 7208 section 3, RFC 6376 section 3.6.2, RFC 7489 section 6.1)."""
    for name in names:
        texts = await visit.network.texts(name)
        if texts is None or any(mark in text for text in texts):
            return None
    return fault.seen(f"{names[0]} has no TXT record with {mark}")


RECORDS = Check("mail-records", "DNS records for mail", _records, (SPF_MISSING, DKIM_MISSING, DMARC_MISSING), ("url",))
