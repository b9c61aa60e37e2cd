"""Groups: who hears what, and what the routers are told by IGMP, of version 3 and the older ones."""
import errno

from scapy.contrib.igmp import IGMP
from scapy.contrib.igmpv3 import IGMPv3, IGMPv3mq
from scapy.layers.inet import IP, UDP, IPOption
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import checksum
from wire import IGMP as PROTOCOL
from wire import OURS, OnTheWire

PORT = 5000
ALL_HOSTS, ALL_ROUTERS, V3_ROUTERS = "224.0.0.1", "224.0.0.2", "224.0.0.22"
ROUTER_ALERT = bytes([148, 4, 0, 0])
QUERY, V1_REPORT, V2_REPORT, LEAVE, V3_REPORT = 0x11, 0x12, 0x16, 0x17, 0x22
IS_INCLUDE, IS_EXCLUDE, TO_INCLUDE, TO_EXCLUDE, ALLOW, BLOCK = range(1, 7)


def mac_of(group):
    """RFC 1112 6.4: the low 23 bits."""
    _, b, c, d = map(int, group.split("."))
    return f"01:00:5e:{b & 127:02x}:{c:02x}:{d:02x}"


def is_igmp(frame):
    return IP in frame and frame[IP].proto == PROTOCOL


def records(frame):
    """(type, group, sources) of each record in a version 3 report; of any other frame nothing."""
    message = bytes(frame[IP].payload) if is_igmp(frame) else b""
    if not message or message[0] != V3_REPORT:
        return []
    return [(record.rtype, record.maddr, list(record.srcaddrs)) for record in IGMPv3(message).records]


def old_message(frame):
    """(type, group) of a message of version 1 or 2."""
    message = bytes(frame[IP].payload) if is_igmp(frame) else b""
    return (message[0], IGMP(message).gaddr) if message and message[0] != V3_REPORT else None


class OfGroups(OnTheWire):
    def to_group(self, group, data=b"x", station=None):
        return (station or self.station).to_all(group, PORT, data, mac=mac_of(group))

    def query(self, message, dst=ALL_HOSTS, options=ROUTER_ALERT, **ip):
        headers = Ether(src=self.station.mac, dst=mac_of(dst)) / IP(**{"src": self.station.ip, "dst": dst, "ttl": 1, "proto": PROTOCOL} | ip)
        headers[IP].options = [IPOption(options)] if options else []
        return headers / Raw(bytes(message))

    def has_a_good_header(self, frame, dst):
        ip = frame[IP]
        self.assertEqual((frame[Ether].dst, ip.src, ip.dst, ip.ttl, ip.tos), (mac_of(dst), OURS, dst, 1, 0xc0))
        self.assertEqual(bytes(ip)[20:ip.ihl * 4], ROUTER_ALERT)
        self.assertEqual(checksum(bytes(ip.payload)), 0)


class Groups(OfGroups):
    def report(self, group, *wanted):
        """The first report with all these records about a group."""
        return self.wire.wait_for(lambda frame: all((kind, group, sources) in records(frame) for kind, sources in wanted))

    def test_joining_and_leaving_are_told(self):
        """G3, G4: at once, and again within a second or so; to the version 3 routers, with TTL 1 and the router alert option."""
        member = self.socket(PORT)
        for change, kind in ((member.join, TO_EXCLUDE), (member.leave, TO_INCLUDE)):
            change("239.1.0.1")
            for _ in range(2):
                self.has_a_good_header(self.report("239.1.0.1", (kind, [])), V3_ROUTERS)

    def test_the_last_member_leaves(self):
        """G1, G3: a group is the interface's while any socket is in it; closing a socket is leaving."""
        one, other = self.socket(), self.socket()
        one.join("239.1.0.2")
        self.report("239.1.0.2", (TO_EXCLUDE, []))
        other.join("239.1.0.2")
        one.leave("239.1.0.2")
        self.wire.send(self.query(IGMPv3(type=QUERY, mrcode=1) / IGMPv3mq(gaddr="239.1.0.2"), "239.1.0.2"))
        self.report("239.1.0.2", (IS_EXCLUDE, []))
        self.opened.remove(other)
        other.close()
        self.report("239.1.0.2", (TO_INCLUDE, []))

    def test_sources_are_told_as_they_come_and_go(self):
        """G4: allowed and blocked, one by one; and the mode, when it changes."""
        member, other = self.socket(PORT), self.socket()
        member.join("232.1.0.3", "192.0.2.1")
        self.report("232.1.0.3", (ALLOW, ["192.0.2.1"]))
        member.join("232.1.0.3", "192.0.2.2")
        self.wire.wait_for(lambda frame: any(each[:2] == (ALLOW, "232.1.0.3") and "192.0.2.2" in each[2] for each in records(frame)))
        member.leave("232.1.0.3", "192.0.2.1")
        self.report("232.1.0.3", (BLOCK, ["192.0.2.1"]))
        other.join("239.1.0.3")
        other.do("block", "239.1.0.3", "192.0.2.9")
        self.wire.wait_for(lambda frame: any(each in ((TO_EXCLUDE, "239.1.0.3", ["192.0.2.9"]), (BLOCK, "239.1.0.3", ["192.0.2.9"])) for each in records(frame)))

    def test_queries_are_answered(self):
        """G3, G5: of all groups, of one, of some sources of one; 224.0.0.1 is never told of."""
        member = self.socket(PORT)
        member.join("239.1.0.4")
        member.join("232.1.0.4", "192.0.2.1")
        member.join(ALL_HOSTS)
        self.wire.send(self.query(IGMPv3(type=QUERY, mrcode=2) / IGMPv3mq(gaddr="0.0.0.0")))
        answer = self.report("239.1.0.4", (IS_EXCLUDE, []))
        self.has_a_good_header(answer, V3_ROUTERS)
        self.assertIn((IS_INCLUDE, "232.1.0.4", ["192.0.2.1"]), records(answer))
        self.assertNotIn(ALL_HOSTS, [group for _, group, _ in records(answer)])
        self.wire.send(self.query(IGMPv3(type=QUERY, mrcode=1) / IGMPv3mq(gaddr="232.1.0.4"), "232.1.0.4"))
        self.report("232.1.0.4", (IS_INCLUDE, ["192.0.2.1"]))
        self.wire.send(self.query(IGMPv3(type=QUERY, mrcode=1) / IGMPv3mq(gaddr="239.1.0.4", srcaddrs=["192.0.2.7", "192.0.2.8"]), "239.1.0.4"))
        self.report("239.1.0.4", (IS_INCLUDE, ["192.0.2.7", "192.0.2.8"]))

    def test_queries_that_no_router_sends(self):
        """G5, G7: without router alert, from beyond the link, a general one to a group, of an impossible length, damaged: not answered."""
        member = self.socket(PORT)
        member.join("239.1.0.5")
        general = IGMPv3(type=QUERY, mrcode=1) / IGMPv3mq(gaddr="0.0.0.0")
        about_sources = IGMPv3(type=QUERY, mrcode=1) / IGMPv3mq(gaddr="239.1.0.5", numsrc=2, srcaddrs=["192.0.2.1"])
        short = bytes([QUERY, 1, 0, 0]) + bytes(6)
        short = short[:2] + checksum(short).to_bytes(2, "big") + short[4:]
        self.ignores(self.query(general, options=None), self.query(general, ttl=2), self.query(general, "239.1.0.5"), igmp_malformed=3)
        self.ignores(self.query(short), self.query(bytes(general)[:7]), igmp_truncated=2)
        self.ignores(self.query(about_sources, "239.1.0.5"), igmp_malformed=1)
        self.ignores(self.query(bytes(general)[:2] + b"\0\0" + bytes(general)[4:]), igmp_checksum_bad=1)
        answers = [each for frame in self.wire.frames(0.4) for each in records(frame) if each[0] in (IS_INCLUDE, IS_EXCLUDE)]
        self.assertEqual(answers, [])

    def test_members_hear_and_others_do_not(self):
        """G1, X15, U11: a datagram reaches the sockets that joined, and with multicast_all those of the port; no other group's, no other socket."""
        self.ignores(self.to_group("239.1.0.6"), self.to_group("239.1.0.7"), group_not_joined=2)
        members = [self.socket(PORT, reuse_address=1, multicast_all=0) for _ in range(2)]
        outsider, everybody = self.socket(PORT, reuse_address=1, multicast_all=0), self.socket(PORT, reuse_address=1)
        for member in members:
            member.join("239.1.0.6")
        self.ignores(self.to_group("239.1.0.6"), self.to_group("239.1.0.7"), group_not_joined=1)
        self.assertEqual([datagram.local for member in members for datagram in member.receive()], [("239.1.0.6", PORT)] * 2)
        self.assertEqual((outsider.data(), everybody.data()), ([], [b"x"]))
        for member in members:
            member.leave("239.1.0.6")
        self.ignores(self.to_group("239.1.0.6"), group_not_joined=1)

    def test_a_group_is_not_its_mac_address(self):
        """G2, X15: 32 groups share one; the IP address decides."""
        member = self.socket(PORT)
        member.join("239.1.0.8")
        twins = [f"{first}.{second}.0.8" for first in (224, 230, 239) for second in (1, 129)]
        self.ignores(*(self.to_group(group, group.encode()) for group in twins), group_not_joined=5)
        self.assertEqual(member.data(), [b"239.1.0.8"])

    def test_source_filters(self):
        """X15: only from the sources that were named; from all but those that were blocked."""
        other = self.wire.station()
        chosen, blocking = self.socket(PORT, reuse_address=1, multicast_all=0), self.socket(PORT, reuse_address=1, multicast_all=0)
        chosen.join("239.1.0.9", self.station.ip)
        self.ignores(self.to_group("239.1.0.9", b"good"), self.to_group("239.1.0.9", b"bad", other), source_filtered=1)
        self.assertEqual(chosen.data(), [b"good"])
        blocking.join("239.1.0.9")
        blocking.do("block", "239.1.0.9", self.station.ip)
        self.ignores(self.to_group("239.1.0.9", b"1"), self.to_group("239.1.0.9", b"2", other))
        self.assertEqual((chosen.data(), blocking.data()), ([b"1"], [b"2"]))
        blocking.do("unblock", "239.1.0.9", self.station.ip)
        chosen.leave("239.1.0.9", self.station.ip)
        self.ignores(self.to_group("239.1.0.9", b"3"))
        self.assertEqual((chosen.data(), blocking.data()), ([], [b"3"]))

    def test_sending_to_a_group(self):
        """G1, G2: to the group's MAC address, with TTL 1 unless another is asked for; our own members hear it, unless the sender says no."""
        sender, member = self.socket(), self.socket(PORT)
        member.join("239.129.10.1")
        for group in ("239.129.10.1", "224.0.0.251", "239.255.255.255"):
            sender.send(b"x", (group, PORT))
            [frame] = self.wire.answers()
            self.assertEqual((frame[Ether].dst, frame[IP].src, frame[IP].dst, frame[IP].ttl, frame[UDP].dport), (mac_of(group), OURS, group, 1, PORT))
        self.assertEqual(member.data(), [b"x"])
        sender.set("multicast_ttl", 9)
        sender.set("multicast_loop", 0)
        sender.send(b"y", ("239.129.10.1", PORT))
        self.assertEqual([frame[IP].ttl for frame in self.wire.answers()], [9])
        sender.set("multicast_loop", 1)
        sender.set("multicast_ttl", 0)
        sender.send(b"z", ("239.129.10.1", PORT))
        self.assertEqual(self.wire.answers(), [])
        self.assertEqual(member.data(), [b"z"])

    def test_filters_are_bounded(self):
        """G9: 64 sources and more, then an error; all are told of. A source-specific group has no other members (RFC 4604)."""
        member = self.socket(PORT)
        with self.assertRaises(OSError) as refused:
            member.join("232.1.0.11")
        self.assertEqual(refused.exception.errno, errno.EINVAL)
        sources = [f"192.0.2.{i}" for i in range(1, 129)]
        for source in sources:
            member.join("232.1.0.11", source)
        with self.assertRaises(OSError) as refused:
            member.join("232.1.0.11", "192.0.2.200")
        self.assertEqual(refused.exception.errno, errno.ENOBUFS)
        self.wire.send(self.query(IGMPv3(type=QUERY, mrcode=1) / IGMPv3mq(gaddr="232.1.0.11"), "232.1.0.11"))
        told = set()
        for frame in self.wire.frames():
            told |= {source for kind, group, some in records(frame) if (kind, group) == (IS_INCLUDE, "232.1.0.11") for source in some}
            if len(told) == len(sources):
                break
        self.assertEqual(told, set(sources))


class OlderQueriers(OfGroups):
    """Once an older router has asked, a host speaks its version for minutes: so these tests have a host of their own."""

    def old(self, kind, group):
        return self.wire.wait_for(lambda frame: old_message(frame) == (kind, group))

    def test_1_version_two(self):
        """G3, G6: reports go to the group itself, leaves to all routers; nothing of source-specific groups."""
        member = self.socket(PORT)
        member.join("239.2.0.1")
        member.join("232.2.0.1", "192.0.2.1")
        for dst, group in ((ALL_HOSTS, "0.0.0.0"), ("239.2.0.1", "239.2.0.1")):
            self.wire.send(self.query(IGMP(type=QUERY, mrcode=1, gaddr=group), dst))
            self.has_a_good_header(self.old(V2_REPORT, "239.2.0.1"), "239.2.0.1")
        member.join("239.2.0.2")
        self.has_a_good_header(self.old(V2_REPORT, "239.2.0.2"), "239.2.0.2")
        member.leave("239.2.0.1")
        self.has_a_good_header(self.old(LEAVE, "239.2.0.1"), ALL_ROUTERS)
        self.wire.send(self.query(IGMP(type=QUERY, mrcode=1, gaddr="0.0.0.0")))
        said = []
        self.wire.wait_for(lambda frame: said.append(old_message(frame)) or said[-1] == (V2_REPORT, "239.2.0.2"))
        said += [old_message(frame) for frame in self.wire.frames(0.2)]
        self.assertEqual(set(said) - {None}, {(V2_REPORT, "239.2.0.2")})

    def test_2_another_member_has_told(self):
        """G6: then we need not, and the leave is not ours to tell either (RFC 2236 section 3)."""
        self.wire.send(self.query(IGMP(type=QUERY, mrcode=1, gaddr="0.0.0.0")))
        member = self.socket(PORT)
        member.join("239.2.0.3")
        self.old(V2_REPORT, "239.2.0.3")
        report = self.query(IGMP(type=V2_REPORT, mrcode=0, gaddr="239.2.0.3"), "239.2.0.3")
        said = self.wire.exchange(self.query(IGMP(type=QUERY, mrcode=250, gaddr="239.2.0.3"), "239.2.0.3"), report)
        member.leave("239.2.0.3")
        said += self.wire.exchange() + list(self.wire.frames(0.3))
        self.assertEqual([old_message(frame) for frame in said if old_message(frame) and old_message(frame)[1] == "239.2.0.3"], [])

    def test_3_version_one(self):
        """G5, G6: a query with no time in it is version 1's; its reports, and no leaves."""
        self.wire.exchange(self.query(IGMP(type=QUERY, mrcode=0, gaddr="0.0.0.0"), options=None))
        member = self.socket(PORT)
        member.join("239.2.0.4")
        report = self.old(V1_REPORT, "239.2.0.4")
        self.assertEqual((report[IP].dst, report[IP].ttl), ("239.2.0.4", 1))
        member.leave("239.2.0.4")
        self.assertEqual([old_message(frame) for frame in self.wire.exchange() if is_igmp(frame)], [])
