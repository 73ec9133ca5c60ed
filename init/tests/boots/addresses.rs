//! The address: the leased one, whether it is still ours, and what is done where it is not. Questions are read and answers written by
//! dhcproto, as the server does.

use std::net::Ipv4Addr;

use dhcproto::v4::{DhcpOption, MessageType, OptionCode};
use oneroot_init::address::wire::{self, Question};

use crate::fake::{End, Fake};
use crate::lab::{
    LEASED, ROGUE, SERVER, SETTINGS, after, asked as read, at, failures, gives, kind, link, machine,
    machine_with, reports, spoilt,
};

const ELSE: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 200);
/// More servers of a network whose addresses are not ours to give.
const STRANGERS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 77, 67), Ipv4Addr::new(192, 168, 77, 68)];
const PROXY: &str = "address 192.168.77.10/24 3600\nrouter 192.168.77.254\n";

fn boots(fake: &Fake, seconds: u64) {
    let end = fake.boot(seconds);
    assert!(matches!(end, End::Init(_)), "{end:?}: {}", fake.page());
}

fn asked(fake: &Fake) -> Vec<MessageType> {
    fake.state().asked.iter().map(|question| kind(question)).collect()
}

#[test]
fn a_leased_address_that_is_still_ours_costs_one_question() {
    let fake = machine();
    boots(&fake, 60);
    assert_eq!(asked(&fake), [MessageType::Request]);
    assert_eq!(fake.state().addresses, [(2, LEASED, 24)]);
}

#[test]
fn a_dhcp_server_that_is_silent_is_asked_twice_and_the_leased_address_is_taken() {
    let fake = machine();
    fake.state().dhcp.clear();
    boots(&fake, 60);
    assert_eq!(asked(&fake).len(), 2);
    assert_eq!(fake.state().addresses, [(2, LEASED, 24)]);
    assert!(fake.state().now.as_secs() < 4);
}

#[test]
fn a_leased_address_that_is_anothers_by_now_is_given_up_for_a_new_one() {
    let fake = machine();
    fake.state().dhcp = vec![gives(SERVER, ELSE)];
    boots(&fake, 60);
    assert_eq!(asked(&fake), [MessageType::Request, MessageType::Discover, MessageType::Request]);
    assert_eq!(fake.state().addresses, [(2, ELSE, 20)]);
    assert_eq!(fake.state().mtus, [(2, 1400)]);
}

#[test]
fn an_mtu_that_is_only_offered_and_that_the_link_does_not_carry_is_told_and_stops_nothing() {
    let fake = machine();
    fake.state().dhcp = vec![gives(SERVER, ELSE)];
    fake.state().largest_mtu = Some(1300);
    boots(&fake, 60);
    assert_eq!(fake.state().addresses, [(2, ELSE, 20)]);
    assert_eq!(failures(&fake), Vec::<String>::new());
    let notes: Vec<String> = reports(&fake).into_iter().filter_map(|report| report.note).collect();
    assert!(
        matches!(&*notes, [note] if note.contains("eth0 can't be given the MTU that DHCP offers")),
        "{notes:?}"
    );
}

#[test]
fn a_rogue_that_refuses_offers_and_agrees_is_none_of_ours() {
    let fake = machine();
    fake.state().dhcp = vec![gives(ROGUE, ELSE), gives(SERVER, LEASED)];
    boots(&fake, 60);
    assert_eq!(fake.state().addresses, [(2, LEASED, 24)], "the rogue's NAK is nobody's");
    let fake = machine();
    fake.state().dhcp = vec![gives(ROGUE, LEASED), gives(SERVER, ELSE)];
    boots(&fake, 60);
    assert_eq!(fake.state().addresses, [(2, ELSE, 20)], "nor are its ACK and its offers");
}

#[test]
fn an_answer_to_another_question_or_to_another_client_is_passed_over() {
    for (place, what) in [(4, "xid"), (28, "chaddr"), (236, "cookie"), (0, "op")] {
        let fake = machine();
        fake.state().dhcp = vec![
            spoilt(SERVER, ELSE, move |answer| answer[place] ^= 0x10),
            spoilt(SERVER, ELSE, |answer| answer.truncate(239)),
            spoilt(SERVER, ELSE, |answer| answer.clear()),
            gives(SERVER, LEASED),
        ];
        boots(&fake, 60);
        assert_eq!(fake.state().addresses, [(2, LEASED, 24)], "{what}");
    }
}

#[test]
fn where_another_server_gives_the_addresses_any_offer_is_taken() {
    let fake = machine_with(&SETTINGS.replace(PROXY, ""));
    fake.state().dhcp = vec![gives(ROGUE, ELSE)];
    boots(&fake, 60);
    assert_eq!(asked(&fake), [MessageType::Discover, MessageType::Request]);
    assert_eq!(fake.state().addresses, [(2, ELSE, 20)]);
    assert_eq!(fake.state().routers, [Ipv4Addr::new(192, 168, 77, 253)]);
}

/// The routers of a machine that is given an address by a server that says these routes too; option 3 says 192.168.77.253.
fn routers(address: Ipv4Addr, options: &[u8]) -> Vec<Ipv4Addr> {
    let fake = machine_with(&SETTINGS.replace(PROXY, ""));
    let options = options.to_vec();
    fake.state().dhcp = vec![spoilt(ROGUE, address, move |answer| {
        answer.splice(240..240, options.iter().copied());
    })];
    boots(&fake, 60);
    assert_eq!(fake.state().addresses, [(2, address, 20)], "{:?}", fake.state().asked);
    fake.state().routers.clone()
}

#[test]
fn routes_without_classes_are_asked_for_before_the_router_and_count_instead_of_it() {
    let question = wire::question(Question::Discover, 7, crate::lab::MAC.parse().unwrap(), 0);
    let wanted = question.windows(7).any(|bytes| bytes == [55, 5, 1, 121, 3, 26, 51]);
    assert!(wanted, "RFC 3442: before the routers' option; {question:?}");
    let far = Ipv4Addr::new(10, 9, 0, 5);
    for (options, wanted, what) in [
        (&[121, 5, 0, 10, 9, 0, 1][..], Some([10, 9, 0, 1]), "the way to everywhere"),
        (
            &[121, 20, 0, 10, 9, 0, 1, 24, 192, 168, 77, 10, 9, 0, 2, 16, 192, 168, 10, 9, 0, 3],
            Some([10, 9, 0, 2]),
            "the narrowest that has the root's server in it",
        ),
        (
            &[121, 14, 32, 192, 168, 77, 1, 10, 9, 0, 2, 0, 10, 9, 0, 1],
            Some([10, 9, 0, 2]),
            "one of a single host",
        ),
        (
            &[121, 14, 32, 192, 168, 77, 9, 10, 9, 0, 2, 0, 10, 9, 0, 1],
            Some([10, 9, 0, 1]),
            "one of another host",
        ),
        (&[121, 7, 12, 192, 175, 10, 9, 0, 2], Some([10, 9, 0, 2]), "bits behind the width say nothing"),
        (
            &[121, 8, 24, 172, 16, 1, 10, 9, 0, 2],
            None,
            "no way to the server, and option 3 is not one either",
        ),
        (
            &[121, 13, 24, 192, 168, 77, 0, 0, 0, 0, 0, 10, 9, 0, 1],
            Some([10, 9, 0, 1]),
            "what is on the link itself has no router",
        ),
        (&[121, 3, 0, 10, 9, 121, 2, 0, 1], Some([10, 9, 0, 1]), "one that is told in two parts (RFC 3396)"),
    ] {
        let wanted: Vec<Ipv4Addr> = wanted.into_iter().map(Ipv4Addr::from).collect();
        assert_eq!(routers(far, options), wanted, "{what}");
    }
    let all = [121, 13, 24, 192, 168, 77, 10, 9, 0, 2, 0, 10, 9, 0, 1];
    assert_eq!(
        routers(ELSE, &all),
        [Ipv4Addr::new(10, 9, 0, 1)],
        "to a server on its own network there is no way to say"
    );
}

#[test]
fn routes_without_classes_that_are_malformed_are_passed_over_whole() {
    for (options, what) in [
        (&[121, 0][..], "none"),
        (&[121, 4, 0, 10, 9, 0], "a router of three bytes"),
        (&[121, 8, 33, 192, 168, 77, 1, 10, 9, 0], "more bits than there are"),
        (&[121, 10, 33, 192, 168, 77, 1, 0, 10, 9, 0, 1], "a width of 33, and all bytes that it would take"),
        (&[121, 8, 0, 10, 9, 0, 1, 24, 192, 168], "a good one and half of one"),
        (&[121, 6, 0, 10, 9, 0, 1, 24], "a good one and the width of another"),
        (&[121, 6, 0, 10, 9, 0, 1, 33], "a good one and a width of 33"),
        (&[121, 5, 0, 224, 0, 0, 1], "a router that is no host"),
        (&[121, 5, 0, 127, 0, 0, 1], "itself as the router"),
    ] {
        assert_eq!(routers(ELSE, options), [Ipv4Addr::new(192, 168, 77, 253)], "{what}");
    }
}

#[test]
fn a_dhcp_server_that_comes_back_after_an_hour_is_still_asked() {
    let fake = machine_with(&SETTINGS.replace(PROXY, ""));
    fake.state().dhcp = vec![after(150, gives(ROGUE, ELSE))];
    boots(&fake, 100_000);
    assert!(fake.state().now.as_secs() > 3000, "its pauses grow: {:?}", fake.state().now);
    assert!(failures(&fake).iter().all(|said| said.starts_with("no DHCP server answers on eth0")));
    assert!(!failures(&fake).is_empty());
}

#[test]
fn a_network_with_a_flood_of_answers_is_no_endless_wait() {
    let fake = machine();
    fake.state().dhcp = (0..1000).map(|_| gives(ROGUE, ELSE)).collect();
    boots(&fake, 60);
    assert_eq!(fake.state().addresses, [(2, LEASED, 24)]);
}

/// A machine whose server has no root for it until then.
fn waits(fake: Fake, until: u64) -> Fake {
    fake.state().servers.get_mut(&at(SERVER)).unwrap().is_up = false;
    fake.at(until, |state| state.servers.get_mut(&at(SERVER)).unwrap().is_up = true);
    fake
}

#[test]
fn a_machine_that_waits_for_its_root_for_longer_than_its_lease_renews_it_in_time() {
    let fake = waits(machine(), 10_000);
    boots(&fake, 20_000);
    // Each answer is for 600 s.
    let asked = asked(&fake);
    assert!((25..=40).contains(&asked.len()), "{}", asked.len());
    assert!(asked.iter().all(|kind| *kind == MessageType::Request));
    assert_eq!(fake.state().addresses, [(2, LEASED, 24)]);
}

#[test]
fn an_address_that_became_anothers_while_the_root_was_waited_for_is_given_up_for_a_new_one() {
    let fake = waits(machine(), 3000);
    fake.at(1000, |state| state.dhcp = vec![gives(ROGUE, LEASED), gives(SERVER, ELSE)]);
    boots(&fake, 5000);
    assert_eq!(fake.state().addresses, [(2, ELSE, 20)], "the old one is not kept beside it");
}

#[test]
fn where_another_server_has_given_the_address_that_one_is_asked_to_renew_it() {
    let fake = waits(machine_with(&SETTINGS.replace(PROXY, "")), 3000);
    fake.state().dhcp = vec![gives(ROGUE, ELSE)];
    boots(&fake, 5000);
    let asked = asked(&fake);
    assert_eq!(asked.iter().filter(|kind| **kind == MessageType::Discover).count(), 1, "{asked:?}");
    assert!((8..=12).contains(&asked.len()), "{asked:?}");
}

#[test]
fn a_server_that_has_forgotten_the_lease_is_asked_for_any_address_when_it_ends_and_silence_ends_nothing() {
    let fake = waits(machine_with(&SETTINGS.replace(PROXY, "")), 6000);
    fake.state().dhcp = vec![gives(ROGUE, LEASED)];
    fake.at(100, |state| state.dhcp.clear());
    fake.at(3000, |state| {
        let (mut gives, mut offered) = (gives(ROGUE, ELSE), false);
        state.dhcp.push(Box::new(move |question| {
            offered |= kind(question) == MessageType::Discover;
            gives(question).filter(|_| offered)
        }));
    });
    boots(&fake, 10_000);
    assert_eq!(fake.state().addresses, [(2, ELSE, 20)]);
    let asked = asked(&fake);
    assert!(asked.len() < 200, "{}", asked.len());
    // With nobody left to ask, the machine goes on with what it has.
    let fake = waits(machine(), 90_000);
    fake.state().dhcp.clear();
    boots(&fake, 100_000);
    assert_eq!(fake.state().addresses, [(2, LEASED, 24)]);
}

#[test]
fn who_asks_is_the_same_client_in_each_question_as_its_firmware_was_and_says_how_long_it_has_waited() {
    let fake = machine_with(&SETTINGS.replace(PROXY, ""));
    let mut gives = gives(ROGUE, ELSE);
    // It helps another one out, and waits for that until a client has waited.
    fake.state().dhcp =
        vec![Box::new(move |question| gives(question).filter(|_| read(question).secs() >= 3))];
    boots(&fake, 600);
    let asked = fake.state().asked.clone();
    assert!(asked.len() > 3, "{}", asked.len());
    for question in &asked {
        let question = read(question);
        let client = question.opts().get(OptionCode::ClientIdentifier).cloned();
        let own = [&[1], &crate::lab::MAC.parse::<oneroot_ids::Mac>().unwrap().bytes()[..]].concat();
        assert_eq!(client, Some(DhcpOption::ClientIdentifier(own)));
        assert_eq!(question.xid(), read(&asked[0]).xid(), "an answer to the first is one to the next");
    }
}

#[test]
fn a_short_lease_is_renewed_before_it_ends_however_long_the_root_is_waited_for() {
    let fake = waits(machine_with(&SETTINGS.replace("24 3600", "24 60")), 600);
    let lease_60 = |question: &[u8]| {
        let mut answer = gives(SERVER, LEASED)(question)?;
        let at = answer.windows(2).position(|option| option == [51, 4])?;
        answer.splice(at + 2..at + 6, 60u32.to_be_bytes());
        Some(answer)
    };
    fake.state().dhcp = vec![Box::new(lease_60)];
    boots(&fake, 1000);
    let asked = asked(&fake).len();
    assert!((600 / 60..600 / 10).contains(&asked), "{asked} questions in ten minutes");
}

#[test]
fn an_address_that_is_anothers_is_given_up_before_there_is_a_new_one_and_is_asked_for_no_more() {
    let fake = waits(machine(), 20_000);
    let refuses = || {
        let mut nak = gives(SERVER, ELSE);
        move |question: &[u8]| (kind(question) == MessageType::Request).then(|| nak(question)).flatten()
    };
    fake.at(200, move |state| state.dhcp = vec![Box::new(refuses())]);
    fake.at(5000, |state| {
        assert_eq!(state.addresses, [], "its new owner speaks from it by now");
        state.dhcp = vec![gives(SERVER, ELSE)];
    });
    // A NIC that is another link by then asks for what it had last.
    fake.at(9000, |state| {
        assert_eq!(state.addresses, [(2, ELSE, 20)]);
        (state.dhcp, state.links) = (Vec::new(), vec![link(7, "eth0", crate::lab::MAC)]);
        state.plugged.insert(7);
    });
    boots(&fake, 40_000);
    assert_eq!(fake.state().addresses.last(), Some(&(7, ELSE, 20)));
    assert!(!fake.state().addresses.iter().any(|(on, address, _)| *on == 7 && *address == LEASED));
}

#[test]
fn a_renewal_takes_the_router_that_the_network_has_by_now() {
    let fake = waits(machine(), 10_000);
    boots(&fake, 20_000);
    let state = fake.state();
    assert_eq!(state.routers, [254, 253].map(|host| Ipv4Addr::new(192, 168, 77, host)));
    assert_eq!(state.addresses, [(2, LEASED, 24)]);
}

#[test]
fn a_network_whose_router_the_site_does_not_name_has_the_one_of_the_answer() {
    let fake = machine_with(&SETTINGS.replace("router 192.168.77.254\n", ""));
    boots(&fake, 60);
    assert_eq!(fake.state().routers, [Ipv4Addr::new(192, 168, 77, 253)]);
}

#[test]
fn a_server_that_offers_and_refuses_is_asked_with_pauses() {
    let fake = machine_with(&SETTINGS.replace(PROXY, ""));
    let mut offers = spoilt(ROGUE, ELSE, |_| ());
    fake.state().dhcp = vec![Box::new(move |question| {
        let mut answer = offers(question)?;
        if kind(question) == MessageType::Request {
            let at = answer[240..].windows(3).position(|option| option == [53, 1, 5]).unwrap();
            answer[240 + at + 2] = 6;
        }
        Some(answer)
    })];
    assert_eq!(fake.boot(600), End::Tries);
    let asked = asked(&fake).len();
    assert!(asked < 100, "{asked} questions in ten minutes");
}

#[test]
fn a_server_that_helps_another_out_hears_how_long_a_machine_has_asked_for_more_time() {
    let fake = waits(machine_with(&SETTINGS.replace(PROXY, "")), 10_000);
    fake.state().dhcp = vec![gives(ROGUE, ELSE)];
    fake.at(200, |state| {
        let mut helps = gives(SERVER, ELSE);
        state.asked.clear();
        let is_late = |question: &[u8]| read(question).secs() >= 300;
        state.dhcp = vec![Box::new(move |question| is_late(question).then(|| helps(question)).flatten())];
    });
    boots(&fake, 20_000);
    let asked: Vec<u16> = fake.state().asked.iter().map(|asked| read(asked).secs()).collect();
    let heard = asked.iter().position(|waited| *waited >= 300).unwrap();
    assert!(asked[..heard].is_sorted(), "{asked:?}");
    assert_eq!(asked[heard + 1], 0, "it was given more time, and asks for more: {asked:?}");
}

#[test]
fn who_takes_an_offer_says_that_it_has_waited_as_long_as_when_it_was_offered() {
    let fake = machine_with(&SETTINGS.replace(PROXY, ""));
    let (mut then, mut count) = (gives(ROGUE, ELSE), 0);
    fake.state().dhcp = vec![Box::new(move |question| {
        count += 1;
        if matches!(count, 1..=3 | 5) { None } else { then(question) }
    })];
    boots(&fake, 60);
    let state = fake.state();
    let asked: Vec<(MessageType, u16)> =
        state.asked.iter().map(|asked| (kind(asked), read(asked).secs())).collect();
    let waited = asked[3].1;
    assert!(waited > 0, "{asked:?}");
    assert_eq!(
        asked[3..],
        [MessageType::Discover, MessageType::Request, MessageType::Request].map(|kind| (kind, waited))
    );
}

#[test]
fn from_seven_eighths_of_a_lease_on_any_server_of_the_network_may_extend_it() {
    let fake = waits(machine_with(&SETTINGS.replace(PROXY, "")), 2000);
    fake.state().dhcp = vec![gives(ROGUE, ELSE)];
    fake.at(200, |state| {
        state.asked.clear();
        state.dhcp = vec![gives(STRANGERS[0], LEASED), gives(STRANGERS[1], ELSE)];
    });
    boots(&fake, 20_000);
    assert!(
        asked(&fake).iter().all(|kind| *kind == MessageType::Request),
        "its address never ended: {:?}",
        asked(&fake)
    );
    assert_eq!(
        fake.state().addresses,
        [(2, ELSE, 20)],
        "and who says that it is another's is none of its servers"
    );
}

#[test]
fn a_router_that_the_kernel_refuses_stops_no_machine_whose_root_is_on_its_link() {
    let router = Ipv4Addr::new(192, 168, 77, 253);
    let fake = machine_with(&SETTINGS.replace(PROXY, ""));
    fake.state().dhcp = vec![gives(ROGUE, ELSE)];
    fake.state().bad_router = Some(router);
    boots(&fake, 60);
    let notes: Vec<String> = reports(&fake).into_iter().filter_map(|report| report.note).collect();
    assert!(notes.len() == 1 && notes[0].contains("its router"), "{notes:?}");
    assert!(!fake.state().on_link);
}

/// As hosters have it: the router is in no network of the machine's (RFC 3442 announces it as on the link).
#[test]
fn a_router_outside_the_machines_network_is_on_its_link() {
    let fake = machine_with(&SETTINGS.replace(PROXY, ""));
    fake.state().dhcp = vec![gives(ROGUE, Ipv4Addr::new(10, 9, 0, 5))];
    boots(&fake, 60);
    assert!(fake.state().on_link && fake.state().routers == [Ipv4Addr::new(192, 168, 77, 253)]);
}

proptest::proptest! {
    /// The bytes are any network's: none of them ends init.
    #[test]
    fn no_datagram_does_harm(mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400), is_shaped in proptest::prelude::any::<bool>()) {
        let mac = crate::lab::MAC.parse().unwrap();
        if is_shaped && bytes.len() > 240 {
            let head = wire::question(Question::Discover, 7, mac, 0);
            bytes[..240].copy_from_slice(&head[..240]);
            bytes[0] = 2;
            bytes.splice(240..240, [53, 1, 5]);
        }
        if let Some(answer) = wire::answer(&bytes, 7, mac) {
            proptest::prop_assert!(answer.prefix.is_none_or(|bits| (1..=32).contains(&bits)));
            proptest::prop_assert!(answer.kind == wire::Kind::Nak || !answer.address.is_unspecified());
        }
    }
}
