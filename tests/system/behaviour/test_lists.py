"""The lists by mail and by command line: what is verified, what is not, and how they are changed (S11 to S14, S18)."""

import re
from subprocess import CompletedProcess

import pytest

from appliance.lab.gateway import Gateway
from appliance.lab.samples import Fate
from appliance.mail.domain import to_a_label
from appliance.settings import InvalidSettings
from tests.system.behaviour.observing import (
    REPORTING,
    STRANGER,
    command,
    current_number,
    marks,
    put_in_force,
    questions,
    report_rows,
    save,
)
from tests.system.behaviour.post import OWN, Letter, Owner, Post, Seen, genuine, mail, spoof

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

ON: dict[str, object] = {"verification.enabled": True, "verification.x_header": True, **REPORTING}
LISTED: dict[str, object] = {**ON, "verification.scope": "listed", "verification.domains": ["kept.example"]}


def untouched(seen: Seen, reason: str) -> None:
    """The message was delivered without marks, and is counted nowhere; the record says why."""
    assert (seen.fate, seen.event.skip, seen.event.result) == (Fate.DELIVERED, reason, "")
    assert marks(seen.copy) == ()


# ---- changed by command line ----------------------------------------------------


def change(gateway: Gateway, name: str, verb: str, *words: str, stdin: str = "") -> CompletedProcess[str]:
    """``dmarcgate list NAME VERB …``; what it saved is in force afterwards."""
    done = command(gateway, "list", name, verb, *words, stdin=stdin)
    gateway.await_revision(current_number(gateway))
    return done


def test_s11_a_domain_that_is_added_is_verified_from_the_next_message_on_until_it_is_removed(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    domain = owner.domain()
    put_in_force(gateway, LISTED)

    fates = [post.one(spoof(domain)).fate]
    added = change(gateway, "domains", "add", f"{domain} # the shop")
    fates.append(post.one(spoof(domain)).fate)
    exported = command(gateway, "list", "domains", "export")
    removed = change(gateway, "domains", "remove", domain)
    fates.append(post.one(spoof(domain)).fate)

    assert [done.returncode for done in (added, exported, removed)] == [0, 0, 0]
    assert exported.stdout == f"kept.example\n{domain} # the shop\n"
    assert fates == [Fate.DELIVERED, Fate.REFUSED, Fate.DELIVERED]


def test_s11_an_exception_that_is_added_holds_from_the_next_message_on_until_it_is_removed(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    letter = spoof(owner.domain())
    put_in_force(gateway, ON)

    fates = [post.one(letter).fate]
    added = change(gateway, "exceptions", "add", f"{STRANGER} # the scanner")
    fates.append(post.one(letter).fate)
    removed = change(gateway, "exceptions", "remove", STRANGER)
    fates.append(post.one(letter).fate)

    assert [done.returncode for done in (added, removed)] == [0, 0]
    assert fates == [Fate.REFUSED, Fate.DELIVERED, Fate.REFUSED]


def test_s11_adding_what_is_there_in_whatever_spelling_changes_nothing_and_says_so(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """Case, a trailing dot, U-label or A-label, another comment."""
    owner.zone.txt("_dmarc.xn--bcher-kva.example", "v=DMARC1; p=reject")
    before = put_in_force(gateway, {**LISTED, "verification.domains": ["bücher.example # the bookshop"]})
    again = (
        "bücher.example",
        "BÜCHER.Example",
        "bücher.example.",
        "xn--bcher-kva.example",
        "XN--BCHER-KVA.Example.",
        "bücher.example # another comment",
    )

    added = change(gateway, "domains", "add", *again)

    assert (added.returncode, current_number(gateway)) == (0, before)
    told = [line for line in added.stderr.splitlines() if "already" in line or "changes nothing" in line]
    assert len(told) == len(again)
    assert command(gateway, "list", "domains", "export").stdout == "bücher.example # the bookshop\n"
    assert post.one(spoof("bücher.example")).event.revision == before


@pytest.mark.parametrize(
    ("name", "reasons"),
    [
        pytest.param(
            "domains",
            {
                "fine.example": "",
                "example..com": '"example..com" is not a domain name',
                "*": "is not a domain name",
                "*.*.example": "is not a domain name",
                "com": "top-level domain",
                "192.0.2.1": "is an IP address, not a domain",
                "example.com mode=skip": "is not understood",
            },
            id="domains",
        ),
        pytest.param(
            "exceptions",
            {
                "192.0.2.1": "",
                "192.0.2.1/24": "write 192.0.2.0/24",
                "0.0.0.0/0": "0.0.0.0/0 is every address",
                "::/0": "::/0 is every address",
                "*": "needs dkim=",
                "scanner.example": '"scanner.example" is not an IP address',
                "192.0.2.2 mode=maybe": 'not "maybe"',
                "192.0.2.3 until=tomorrow": 'not "tomorrow"',
                "192.0.2.4 dkim=a.example mode=skip": "write mode=evaluate",
                "192.0.2.5 colour=red": '"colour=red" is not understood',
            },
            id="exceptions",
        ),
    ],
)
def test_s11_entries_that_cannot_be_used_are_refused_each_with_the_reason_and_none_is_added(
    gateway: Gateway, name: str, reasons: dict[str, str]
) -> None:
    before = put_in_force(gateway, LISTED)

    refused = change(gateway, name, "add", *reasons)

    assert (refused.returncode, current_number(gateway)) == (2, before)
    told = {
        int(found[1]): line
        for line in refused.stderr.splitlines()
        if (found := re.search(r"line (\d+):", line))
    }
    wanted = {number: reason for number, reason in enumerate(reasons.values(), start=1) if reason}
    assert told.keys() == wanted.keys()
    for number, reason in wanted.items():
        assert reason in told[number]


EXCEPTIONS = (
    "192.0.2.0/24 mode=evaluate until=2027-01-01 # office in Kyoto",
    "203.0.113.9 # the scanner",
    "2001:db8:1::/48 mode=evaluate owner=anna",
    "198.51.100.0/28 until=2999-12-31 owner=bob from=*.example.com # their newsletter, until they sign",
    "* mode=evaluate dkim=bücher.example # the mailing list",
)
DOMAINS = ("example.com # the shop", "*.example.com", "bücher.example # Bücher")


def test_s18_export_and_import_are_the_identity(gateway: Gateway) -> None:
    """Attributes and comments are kept, blank lines are not."""
    before = put_in_force(
        gateway,
        {**ON, "verification.exceptions": list(EXCEPTIONS), "verification.domains": list(DOMAINS)},
    )

    for name, lines in (("exceptions", EXCEPTIONS), ("domains", DOMAINS)):
        exported = command(gateway, "list", name, "export").stdout
        spaced = "\n" + exported.replace("\n", "\r\n\r\n")
        done = change(gateway, name, "import", "--overwrite", "-", stdin=spaced)

        assert exported == "".join(f"{line}\n" for line in lines)
        assert done.returncode == 0, done.stderr
        assert command(gateway, "list", name, "export").stdout == exported
    assert current_number(gateway) == before


def test_s18_overwrite_leaves_what_the_file_has_and_merge_keeps_what_was_there(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    kept, new, newer = owner.domain(), owner.domain(), owner.domain()
    put_in_force(gateway, {**LISTED, "verification.domains": [f"{kept} # the first"]})

    def fates() -> list[Fate]:
        return [seen.fate for seen in post.send(*(spoof(domain) for domain in (kept, new, newer)))]

    merged = change(
        gateway, "domains", "import", "--merge", "-", stdin=f"{new} # second\n{kept} # not the first\n"
    )
    after_merge = fates()
    exported = command(gateway, "list", "domains", "export").stdout
    overwritten = change(gateway, "domains", "import", "--overwrite", "-", stdin=f"{newer}\n")
    after_overwrite = fates()

    assert (merged.returncode, overwritten.returncode) == (0, 0)
    assert exported == f"{kept} # the first\n{new} # second\n"
    assert after_merge == [Fate.REFUSED, Fate.REFUSED, Fate.DELIVERED]
    assert after_overwrite == [Fate.DELIVERED, Fate.DELIVERED, Fate.REFUSED]


@pytest.mark.parametrize("mode", ["--merge", "--overwrite"])
def test_s18_a_file_with_a_bad_line_changes_nothing_and_each_bad_line_is_named(
    gateway: Gateway, post: Post, owner: Owner, mode: str
) -> None:
    domain = owner.domain()
    before = put_in_force(gateway, {**LISTED, "verification.domains": [domain]})

    refused = change(
        gateway, "domains", "import", mode, "-", stdin="fine.example\n\nnot a domain\nfine.example\ncom\n"
    )

    assert (refused.returncode, current_number(gateway)) == (2, before)
    assert [number for number in range(1, 6) if f"line {number}:" in refused.stderr] == [3, 5]
    assert post.one(spoof(domain)).fate is Fate.REFUSED


def test_s18_lists_at_their_limits_are_imported_and_the_next_message_meets_them(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    listed, other = owner.domain(), owner.domain()
    domains = "".join(f"host{number}.example # a comment\n" for number in range(9_999)) + f"{listed}\n"
    networks = "".join(f"10.{n // 256}.{n % 256}.0/24 mode=evaluate\n" for n in range(4_095)) + f"{OWN}\n"
    put_in_force(gateway, LISTED)

    done = [
        change(gateway, name, "import", "--overwrite", "-", stdin=text)
        for name, text in (("domains", domains), ("exceptions", networks))
    ]

    assert [one.returncode for one in done] == [0, 0]
    spoofed, outside, exempt = post.send(spoof(listed), spoof(other), genuine(listed))
    assert spoofed.fate is Fate.REFUSED
    untouched(outside, "scope")
    untouched(exempt, "exception")


# ---- all domains, or the listed ones --------------------------------------------


def test_s12_in_list_mode_a_domain_outside_the_list_is_not_asked_about_marked_stopped_or_counted(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """Whatever else the message names: only the domain of From is compared."""
    listed, other = owner.domain(), owner.domain()
    put_in_force(gateway, {**LISTED, "verification.domains": [listed]})
    top = f"Reply-To: <a@{listed}>", f"Sender: <a@{listed}>", "X-DMARC-Result: pass"
    octets = owner.signed(mail(f"admin@{other}", *top), listed)
    gateway.nameserver.forget_queries()

    seen = post.one(Letter(octets, mail_from=f"a@{listed}", helo=listed))

    untouched(seen, "scope")
    assert gateway.nameserver.queries == ()
    assert report_rows(gateway, other) == report_rows(gateway, listed) == []


def test_s12_in_list_mode_a_listed_domain_is_verified(gateway: Gateway, post: Post, owner: Owner) -> None:
    listed = owner.domain("p=quarantine; rua=mailto:r@owner.test")
    put_in_force(gateway, {**LISTED, "verification.domains": [listed]})

    good, bad = post.send(genuine(listed), spoof(listed))

    assert (good.fate, bad.fate) == (Fate.DELIVERED, Fate.QUARANTINED)
    assert marks(good.copy) == ("authentication-results", "x-dmarc-result")
    assert questions(gateway, listed) > 0
    assert sum(times for _row, times in report_rows(gateway, listed)) == 2


def test_s12_of_several_author_domains_only_the_listed_ones_are_verified(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    listed, other = owner.domain("p=quarantine"), owner.domain()
    put_in_force(gateway, {**LISTED, "verification.domains": [listed]})

    seen = post.one(Letter(mail(f"a@{other}, b@{listed}")))

    assert (seen.fate, seen.event.author_domain) == (Fate.QUARANTINED, listed)
    assert questions(gateway, other) == 0


def test_s12_with_all_domains_the_list_is_kept_and_does_nothing(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    listed, other = owner.domain(), owner.domain()
    put_in_force(gateway, {**ON, "verification.scope": "all", "verification.domains": [listed]})

    seen = post.send(spoof(listed), spoof(other))

    assert [one.fate for one in seen] == [Fate.REFUSED, Fate.REFUSED]
    gateway.save(verification__scope="listed")
    seen = post.send(spoof(listed), spoof(other))
    assert [one.fate for one in seen] == [Fate.REFUSED, Fate.DELIVERED]


def test_s12_list_mode_without_a_list_is_refused_and_mail_is_judged_as_before(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    before = put_in_force(gateway, ON)

    with pytest.raises(InvalidSettings, match=r"verification\.domains: the list is empty"):
        save(gateway, {**ON, "verification.scope": "listed", "verification.domains": []})

    seen = post.one(spoof(owner.domain()))
    assert (seen.fate, seen.event.revision) == (Fate.REFUSED, before)


MATCHED = ("exact.test", "*.below.test", "both.test", "*.both.test", "*.deep.below2.test", "bücher.test")


@pytest.mark.parametrize(
    ("author", "matches"),
    [
        pytest.param("exact.test", True, id="an entry is that domain"),
        pytest.param("mail.exact.test", False, id="and no name below it"),
        pytest.param("below.test", False, id="a star is not the domain itself"),
        pytest.param("mail.below.test", True, id="but every name below it"),
        pytest.param("a.b.c.below.test", True, id="at any depth"),
        pytest.param("deep.below2.test", False, id="a star below a subdomain, itself"),
        pytest.param("x.deep.below2.test", True, id="a star below a subdomain"),
        pytest.param("other.below2.test", False, id="a star below another subdomain"),
        pytest.param("both.test", True, id="both forms: itself"),
        pytest.param("mail.both.test", True, id="both forms: below"),
        pytest.param("EXACT.Test", True, id="case of From"),
        pytest.param("exact.test.", True, id="a trailing dot in From"),
        pytest.param("bücher.test", True, id="U-label in From"),
        pytest.param("XN--Bcher-kva.test", True, id="A-label in From"),
        pytest.param("mail.bücher.test", False, id="below a U-label"),
        pytest.param("notexact.test", False, id="a longer label"),
        pytest.param("notbelow.test", False, id="a longer label under a star"),
        pytest.param("exact.test.evil.test", False, id="the entry as a subdomain of another"),
    ],
)
def test_s13_the_list_is_compared_with_the_domain_of_from(
    gateway: Gateway, post: Post, owner: Owner, author: str, matches: bool
) -> None:
    owner.zone.txt(f"_dmarc.{to_a_label(author)}", "v=DMARC1; p=reject; rua=mailto:r@owner.test")
    put_in_force(gateway, {**LISTED, "verification.domains": list(MATCHED)})

    seen = post.one(Letter(mail(f"a@{author}")))

    if matches:
        assert (seen.fate, seen.event.result) == (Fate.REFUSED, "fail")
    else:
        untouched(seen, "scope")


def test_s14_an_own_domain_is_verified_only_where_the_list_or_the_scope_says_so(
    gateway: Gateway, post: Post, owner: Owner
) -> None:
    """Nothing is added of itself; mail of its own senders, internal or signed in, is not checked in any case."""
    own = owner.domain()
    base = {"identity.protected_domains": [own], "network.internal": ["10.0.0.0/8"]}
    letters = (
        spoof(own),
        Letter(mail(f"a@{own}"), client_ip="10.1.2.3"),
        Letter(mail(f"a@{own}"), login="anna"),
    )

    def seen_with(changes: dict[str, object]) -> list[str]:
        put_in_force(gateway, {**changes, **base})
        return [f"{seen.fate} {seen.event.skip}".strip() for seen in post.send(*letters)]

    skipped = ["delivered internal", "delivered authenticated"]
    assert seen_with(LISTED) == ["delivered scope", *skipped]
    assert seen_with({**LISTED, "verification.domains": [own]}) == ["refused", *skipped]
    assert seen_with(ON) == ["refused", *skipped]
