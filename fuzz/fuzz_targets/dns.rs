//! Answers of name servers: no panic, no endless walk, and no more than there may be.
#![no_main]

use libfuzzer_sys::fuzz_target;
use perdura_proxy::resolver::Name;
use perdura_proxy::resolver::message::{ADDRESSES_MAX, Answer, Found, Kind, query};

fuzz_target!(|input: &[u8]| {
    let Some((&[shape], rest)) = input.split_first_chunk::<1>() else { return };
    let kind = if shape & 1 == 0 { Kind::A } else { Kind::Aaaa };
    let name = Name::parse("a.example").expect("a name");
    // Chance alone does not guess a number and a question.
    let message = match shape & 2 {
        0 => rest.to_vec(),
        _ => {
            let mut message = query(7, &name, kind);
            message[2] = 0x81;
            message[6..8].copy_from_slice(&[0, shape >> 2]);
            [&message, rest].concat()
        }
    };
    let Ok(answer) = Answer::parse(&message, (7, &name, kind)) else { return };
    match answer.follow(&name) {
        Found::Addresses(list, _) => {
            assert!(!list.is_empty() && list.len() <= ADDRESSES_MAX);
            assert!(list.iter().all(|ip| ip.is_ipv4() == (kind == Kind::A)));
        }
        Found::Alias(target, _) => {
            assert!(target.wire().len() <= 255 && target != name);
            // Whatever a server calls an alias can be asked for.
            query(8, &target, kind);
        }
        Found::Nothing | Found::Endless => {}
    }
});
