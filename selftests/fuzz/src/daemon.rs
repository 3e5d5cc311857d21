// SPDX-License-Identifier: GPL-2.0

//! KVP and VSS between a host that sends anything and a daemon that writes anything.

use hv_utils_proto::guest::{Endpoint, Incoming};
use hv_utils_proto::kvp::Kvp;
use hv_utils_proto::relay::{Answer, Protocol, Relay};
use hv_utils_proto::vss::{Timeouts, Vss};
use hv_utils_proto::{Prefix, Service};

use crate::input::Input;

/// The longest packet.
const MAX_PACKET: usize = 8192;

/// Packets and messages of KVP.
pub(crate) fn kvp(bytes: &[u8]) {
    drop(drive(Service::Kvp, Kvp::new(55, 30), bytes));
}

/// Packets and messages of VSS. When host and daemon are gone, the next daemon has all thawed.
pub(crate) fn vss(bytes: &[u8]) {
    let timeouts = Timeouts {
        freeze: 900,
        request: 30,
        frozen: 500,
    };
    let mut relay = drive(Service::Vss, Vss::new(timeouts), bytes);
    relay.host_gone(0);
    relay.daemon_gone(0);
    assert!(relay.daemon_opens());
    let mut message = [0; Vss::MESSAGE_SIZE];
    message[0] = 129;
    relay
        .daemon_writes(&message, 0)
        .expect("a daemon may register");
    for _ in 0..10 {
        if relay.daemon_reads(&mut message) == Some(Vss::MESSAGE_SIZE) {
            relay
                .daemon_writes(&[0; Vss::MESSAGE_SIZE], 0)
                .expect("an answer");
        }
    }
    assert!(!relay.protocol.maybe_frozen());
}

/// A packet, with its number.
struct Packet(Vec<u8>, usize);

impl AsMut<[u8]> for Packet {
    fn as_mut(&mut self) -> &mut [u8] {
        let (_, body) = Prefix::parse_mut(&mut self.0).expect("it has been one");
        body
    }
}

/// Steps: a packet of the host, what the daemon does, or time. Each packet is answered once at most, and each request as soon
/// as its time is up.
fn drive<P: Protocol>(
    service: Service,
    protocol: P,
    bytes: &[u8],
) -> Relay<P, Vec<u8>, Packet, Packet> {
    let mut input = Input(bytes);
    let mut endpoint = Endpoint::new(service);
    let mut relay = Relay::new(protocol, vec![0; P::MESSAGE_SIZE]);
    let mut message = vec![0; P::MESSAGE_SIZE];
    let (mut now, mut number) = (0, 0);
    let mut open = std::collections::BTreeSet::new();
    while !input.is_empty() {
        match input.u8() % 8 {
            0 | 1 => {
                let len = usize::from(input.u8());
                let mut payload = input.bytes(len).to_vec();
                payload.resize(usize::from(input.u16()) % MAX_PACKET, input.u8());
                match endpoint.handle(&mut payload) {
                    Ok(Incoming::Negotiated(_)) => relay.offered(Packet(payload, number), now),
                    Ok(Incoming::Request(_)) => {
                        open.insert(number);
                        relay.requested(Packet(payload, number), now);
                    }
                    Ok(Incoming::Refused(_)) | Err(_) => {}
                }
                number += 1;
            }
            2 => drop(relay.daemon_opens()),
            3 => {
                let len = usize::from(input.u8());
                let bytes = input.bytes(len);
                message.fill(input.u8());
                message[..bytes.len().min(P::MESSAGE_SIZE)]
                    .copy_from_slice(&bytes[..bytes.len().min(P::MESSAGE_SIZE)]);
                let _ = relay.daemon_writes(&message, now);
            }
            4 => {
                let readable = relay.readable();
                let read = relay.daemon_reads(&mut message);
                assert_eq!(read, readable);
                assert!(read.is_none_or(|read| read <= P::MESSAGE_SIZE));
            }
            5 => relay.daemon_gone(now),
            6 => {
                relay.host_gone(now);
                endpoint = Endpoint::new(service);
                open.clear();
            }
            _ => {
                now += u64::from(input.u16());
                relay.expire(now);
                assert!(relay.deadline().is_none_or(|due| due > now));
            }
        }
        while let Some(answer) = relay.next_answer() {
            if let Answer::Request(Packet(_, number), _) = answer {
                assert!(open.remove(&number), "answered twice");
            }
        }
    }
    for _ in 0..10 {
        now = relay.deadline().unwrap_or(now);
        relay.expire(now);
        while let Some(answer) = relay.next_answer() {
            if let Answer::Request(Packet(_, number), _) = answer {
                assert!(open.remove(&number), "answered twice");
            }
        }
    }
    assert!(open.is_empty(), "without an answer");
    relay
}
