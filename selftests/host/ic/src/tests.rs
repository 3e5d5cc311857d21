// SPDX-License-Identifier: GPL-2.0

//! Tests of all services at once: every version, and guests that do as they please.

use crate::guest::{Asked, Guest};
use crate::{all, Ic, Options};
use core::time::Duration;
use hv_utils_proto::negotiation::Answer;
use hv_utils_proto::{Prefix, Service, Status, Version};
use proptest::prelude::*;
use serde_json::{json, Value};
use vmbus_host::Device;
use zerocopy::IntoBytes;

/// The device of a service.
fn device(service: Service) -> Ic {
    let mut devices = all(Options::default());
    let at = devices.iter().position(|ic| ic.name() == service.name());
    devices.swap_remove(at.unwrap())
}

/// Requests of the control socket that a service takes.
fn requests(service: Service) -> Vec<(&'static str, Value)> {
    match service {
        Service::Shutdown => vec![
            ("shutdown", json!({})),
            ("shutdown", json!({"force": true})),
        ],
        Service::Heartbeat => vec![],
        Service::Timesync => vec![
            ("timesync", json!({})),
            ("timesync", json!({"sample": true})),
        ],
        Service::Kvp => vec![
            ("set", json!({"pool": 0, "key": "k", "value": "v"})),
            ("get", json!({"pool": 1, "key": "k"})),
            ("delete", json!({"pool": 0, "key": "k"})),
            ("enumerate", json!({"pool": 2})),
            ("get_ip", json!({"adapter_id": "a"})),
            ("set_ip", json!({"adapter_id": "a"})),
        ],
        Service::Vss => vec![
            ("check", json!({})),
            ("freeze", json!({})),
            ("thaw", json!({})),
            ("backup", json!({"hold_ms": 10})),
        ],
        Service::Fcopy => vec![
            ("copy_file", json!({"path": "/f", "size": 20_000})),
            ("cancel", json!({})),
        ],
    }
}

#[test]
fn each_service_is_offered_as_a_pipe_of_its_own() {
    let devices = all(Options::default());
    assert_eq!(devices.len(), Service::ALL.len());
    for (ic, service) in devices.iter().zip(Service::ALL) {
        let offer = ic.offer();
        assert_eq!(
            (ic.name(), offer.class, offer.instance),
            (service.name(), service.class(), service.instance())
        );
        assert_eq!(offer.flags.bits(), 0x11);
        assert_eq!(offer.user_data[..5], [4, 0, 0, 0, 0]);
        assert_eq!(
            (ic.status()["state"].clone(), ic.deadline()),
            (json!("closed"), None)
        );
    }
    let fcopy = device(Service::Fcopy).offer().instance;
    assert_eq!(fcopy.to_string(), "eb765408-105f-49b6-b4aa-c123b64d17d4");
}

#[test]
fn the_framework_knows_every_class() {
    for service in Service::ALL {
        let class = vmbus_proto::class::Class::find(&service.class());
        assert!(class.is_some(), "{service:?}");
    }
}

#[test]
fn every_service_speaks_every_version() {
    for service in Service::ALL {
        for framework in service.framework_versions() {
            for message in service.message_versions() {
                let mut guest = Guest::ready(device(service), *framework, *message);
                assert_eq!(guest.status("framework"), framework.to_string());
                assert_eq!(guest.status("version"), message.to_string());
                for (command, arguments) in requests(service) {
                    while guest.take().is_some() {}
                    guest.pass(Duration::from_secs(1000));
                    while guest.take().is_some() {}
                    let asked = guest.control(command, arguments);
                    if let Some(request) = guest.take() {
                        assert_eq!(request.prefix.message, *message);
                        assert_eq!(request.prefix.framework, *framework);
                        guest.answer(&request, Status::FAIL, &[]);
                        guest.pass(Duration::from_secs(1000));
                    }
                    assert!(asked.answer().is_some(), "{service:?} {command}");
                }
            }
        }
    }
}

/// What a guest may do.
#[derive(Clone, Debug)]
enum Action {
    /// Open or close the channel.
    Open(bool),
    /// Answer the oldest message as it should be.
    Answer,
    /// Answer it with a status, and bytes of the body replaced.
    Odd(u32, Vec<(u16, u8)>),
    /// Answer it with bytes of the packet replaced.
    Broken(Vec<(u8, u8)>),
    /// Answer it with the end cut off.
    Cut(u16),
    /// Answer it twice.
    Twice,
    /// Leave it unanswered.
    Ignore,
    /// Send a packet of these bytes.
    Raw(Vec<u8>),
    /// Wait.
    Pass(u16),
    /// Ask as the control socket does.
    Control(u8),
}

fn action() -> impl Strategy<Value = Action> {
    let status = prop_oneof![
        Just(0),
        Just(Status::FAIL.0),
        Just(Status::NO_MORE_ITEMS.0),
        any::<u32>()
    ];
    prop_oneof![
        1 => any::<bool>().prop_map(Action::Open),
        8 => Just(Action::Answer),
        3 => (status, any::<Vec<(u16, u8)>>()).prop_map(|(status, bytes)| Action::Odd(status, bytes)),
        2 => any::<Vec<(u8, u8)>>().prop_map(Action::Broken),
        1 => any::<u16>().prop_map(Action::Cut),
        1 => Just(Action::Twice),
        2 => Just(Action::Ignore),
        1 => any::<Vec<u8>>().prop_map(Action::Raw),
        3 => any::<u16>().prop_map(Action::Pass),
        6 => any::<u8>().prop_map(Action::Control),
    ]
}

/// Carries out what a guest does.
fn act(guest: &mut Guest, service: Service, action: Action, asked: &mut Vec<Asked>) {
    let answer = |guest: &mut Guest| {
        let request = guest.take()?;
        if request.prefix.message_type.get() != 0 {
            return Some(request.answer(Status::OK, &[]));
        }
        let newest = |versions: &[Version]| versions[0];
        let chosen = (
            newest(service.framework_versions()),
            newest(service.message_versions()),
        );
        Some(request.answer(Status::OK, Answer::new(Some(chosen)).as_bytes()))
    };
    match action {
        Action::Open(true) if guest.status("state") == "closed" => guest.open(),
        Action::Open(true) => {}
        Action::Open(false) => guest.close(),
        Action::Pass(time) => guest.pass(Duration::from_millis(time.into())),
        Action::Raw(bytes) => guest.send(&bytes),
        Action::Ignore => {
            guest.take();
        }
        Action::Control(which) => {
            let mut requests = requests(service);
            if !requests.is_empty() {
                let (command, arguments) =
                    requests.swap_remove(usize::from(which) % requests.len());
                asked.push(guest.control(command, arguments));
            }
        }
        Action::Answer | Action::Twice | Action::Cut(_) | Action::Odd(..) | Action::Broken(_) => {
            let Some(mut packet) = answer(guest) else {
                return;
            };
            match action {
                Action::Twice => guest.send(&packet),
                Action::Cut(at) => packet.truncate(usize::from(at) % packet.len()),
                Action::Odd(status, bytes) => {
                    packet[20..24].copy_from_slice(&status.to_le_bytes());
                    let length = packet.len() - Prefix::SIZE;
                    for (at, byte) in bytes.iter().filter(|_| length > 0) {
                        packet[Prefix::SIZE + usize::from(*at) % length] = *byte;
                    }
                }
                Action::Broken(bytes) => {
                    for (at, byte) in bytes {
                        let length = packet.len();
                        packet[usize::from(at) % length] = byte;
                    }
                }
                _ => {}
            }
            guest.send(&packet);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the guest does, each request of the control socket is answered once, in bounded time, and the service still
    /// works with the next guest.
    #[test]
    fn a_hostile_guest_harms_nobody(
        which in 0..Service::ALL.len(),
        actions in proptest::collection::vec(action(), 0..60),
    ) {
        let service = Service::ALL[which];
        let mut guest = Guest::new(device(service));
        let mut asked = Vec::new();
        guest.open();
        for action in actions {
            act(&mut guest, service, action, &mut asked);
        }
        guest.pass(Duration::from_secs(20_000));
        for (index, asked) in asked.iter().enumerate() {
            prop_assert!(asked.answer().is_some(), "request {} has no answer", index);
            prop_assert!(asked.answer().is_none(), "request {} has two answers", index);
        }
        guest.close();
        prop_assert_eq!(guest.ic.deadline(), None);
        guest.open();
        act(&mut guest, service, Action::Answer, &mut asked);
        prop_assert_eq!(guest.status("state"), "ready");
    }
}
