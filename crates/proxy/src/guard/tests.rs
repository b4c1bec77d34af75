//! The judgements, over tables of addresses and rules.

use super::*;
use crate::cidr::Read;

fn rule(to: &str, ports: &[RangeInclusive<u16>]) -> Rule {
    let to = match to {
        "" => To::Usual,
        "all" => To::All,
        network => match Cidr::read(network) {
            Read::Network(network) => To::Network(network),
            other => panic!("{network}: {other:?}"),
        },
    };
    Rule { to, ports: ports.to_vec() }
}

fn judge(is_on: bool, allow: &[Rule], deny: &[Rule], address: &str) -> Result<(), Denied> {
    let own = |address: SocketAddr| address == SocketAddr::from(([10, 9, 9, 9], 443));
    let guard = Guard { is_on, allow, deny, own: &own };
    guard.judge(address.parse().unwrap())
}

#[test]
fn only_the_public_network_is_dialled() {
    for (ip, wanted) in [
        ("127.0.0.1", Place::Loopback),
        ("127.255.255.255", Place::Loopback),
        ("0.0.0.0", Place::Reserved),
        ("0.1.2.3", Place::Reserved),
        ("10.0.0.1", Place::Private),
        ("100.64.0.1", Place::CarrierNat),
        ("100.127.255.255", Place::CarrierNat),
        ("169.254.169.254", Place::LinkLocal),
        ("172.16.0.1", Place::Private),
        ("172.31.255.255", Place::Private),
        ("192.0.0.1", Place::Reserved),
        ("192.0.2.1", Place::Reserved),
        ("192.168.0.1", Place::Private),
        ("198.18.0.1", Place::Reserved),
        ("198.19.255.255", Place::Reserved),
        ("224.0.0.1", Place::Multicast),
        ("239.255.255.255", Place::Multicast),
        ("240.0.0.1", Place::Reserved),
        ("255.255.255.255", Place::Reserved),
        ("::", Place::Reserved),
        ("::1", Place::Loopback),
        ("::127.0.0.1", Place::Reserved),
        ("::ffff:127.0.0.1", Place::Loopback),
        ("::ffff:10.0.0.1", Place::Private),
        ("::ffff:0:127.0.0.1", Place::Reserved),
        ("64:ff9b::127.0.0.1", Place::Loopback),
        ("64:ff9b::a9fe:a9fe", Place::LinkLocal),
        ("64:ff9b:1::1.1.1.1", Place::Reserved),
        ("2002:7f00:1::1", Place::Loopback),
        ("2002:c0a8:101::", Place::Private),
        ("2001::1", Place::Reserved),
        ("2001:db8::1", Place::Reserved),
        ("3fff::1", Place::Reserved),
        ("fc00::1", Place::Private),
        ("fd00:ec2::254", Place::Private),
        ("fe80::1", Place::LinkLocal),
        ("fec0::1", Place::Private),
        ("ff02::1", Place::Multicast),
        ("100::1", Place::Reserved),
        ("5f00::1", Place::Reserved),
    ] {
        let ip: IpAddr = ip.parse().unwrap();
        let address = SocketAddr::new(ip, 443).to_string();
        assert_eq!(judge(true, &[], &[], &address), Err(Denied::Address(wanted)), "{ip}");
        assert_eq!(judge(false, &[], &[], &address), Ok(()), "{ip}");
    }
    for ip in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.1.0.0",
        "198.17.255.255",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:200::1",
        "64:ff9b::1.1.1.1",
        "2002:101:101::1",
    ] {
        let address = SocketAddr::new(ip.parse().unwrap(), 443).to_string();
        assert_eq!(judge(true, &[], &[], &address), Ok(()), "{ip}");
    }
}

#[test]
fn only_ports_of_tls_are_dialled() {
    for port in [443, 563] {
        assert_eq!(judge(true, &[], &[], &format!("1.1.1.1:{port}")), Ok(()));
    }
    for port in [22, 25, 80, 442, 444, 8443, 65535] {
        assert_eq!(judge(true, &[], &[], &format!("1.1.1.1:{port}")), Err(Denied::Port));
    }
}

#[test]
fn a_rule_of_ports_opens_no_address() {
    let allow = [rule("", &[80..=81])];
    assert_eq!(judge(true, &allow, &[], "1.1.1.1:80"), Ok(()));
    assert_eq!(judge(true, &allow, &[], "1.1.1.1:82"), Err(Denied::Port));
    let loopback = Err(Denied::Address(Place::Loopback));
    assert_eq!(judge(true, &allow, &[], "127.0.0.1:80"), loopback);
}

#[test]
fn a_rule_of_addresses_opens_the_usual_ports_or_its_own() {
    let private = Err(Denied::Address(Place::Private));
    let allow = [rule("10.0.0.0/8", &[])];
    assert_eq!(judge(true, &allow, &[], "10.0.0.2:443"), Ok(()));
    assert_eq!(judge(true, &allow, &[], "10.0.0.2:80"), private);
    assert_eq!(judge(true, &allow, &[], "192.168.0.1:443"), private);
    let allow = [rule("10.0.0.0/8", &[]), rule("", &[80..=80])];
    assert_eq!(judge(true, &allow, &[], "10.0.0.2:80"), Ok(()));
    let allow = [rule("10.0.0.0/8", &[22..=22])];
    assert_eq!(judge(true, &allow, &[], "10.0.0.2:22"), Ok(()));
    assert_eq!(judge(true, &allow, &[], "10.0.0.2:443"), private);
    let allow = [rule("all", &[1..=65535])];
    assert_eq!(judge(true, &allow, &[], "127.0.0.1:1"), Ok(()));
    let allow = [rule("127.0.0.1", &[])];
    assert_eq!(judge(true, &allow, &[], "[::ffff:127.0.0.1]:443"), Ok(()));
}

#[test]
fn denial_wins_and_needs_no_guard() {
    let allow = [rule("all", &[1..=65535])];
    let by_rule = Err(Denied::ByRule);
    for is_on in [true, false] {
        let deny = [rule("1.1.1.0/24", &[])];
        assert_eq!(judge(is_on, &allow, &deny, "1.1.1.1:443"), by_rule);
        assert_eq!(judge(is_on, &allow, &deny, "[::ffff:1.1.1.1]:443"), by_rule);
        assert_eq!(judge(is_on, &allow, &deny, "1.1.2.1:443"), Ok(()));
        let deny = [rule("1.1.1.0/24", &[443..=443])];
        assert_eq!(judge(is_on, &allow, &deny, "1.1.1.1:443"), by_rule);
        assert_eq!(judge(is_on, &allow, &deny, "1.1.1.1:444"), Ok(()));
        let deny = [rule("", &[25..=25])];
        assert_eq!(judge(is_on, &allow, &deny, "8.8.8.8:25"), by_rule);
        let deny = [rule("all", &[])];
        assert_eq!(judge(is_on, &allow, &deny, "8.8.8.8:443"), by_rule);
    }
}

#[test]
fn the_proxy_itself_is_named_or_not_reached() {
    for allow in
        [rule("all", &[1..=65535]), rule("10.0.0.0/8", &[443..=443]), rule("10.9.9.9", &[])]
    {
        assert_eq!(judge(true, &[allow], &[], "10.9.9.9:443"), Err(Denied::Own));
    }
    let named = [rule("10.9.9.9", &[443..=443])];
    assert_eq!(judge(true, &named, &[], "10.9.9.9:443"), Ok(()));
    assert_eq!(judge(true, &named, &[], "[::ffff:10.9.9.9]:443"), Ok(()));
}
