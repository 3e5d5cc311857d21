// SPDX-License-Identifier: GPL-2.0

//! Random lives of many channels with a host that is slow, fails, rescinds, and loses answers.
//!
//! proptest prints the smallest failing sequence and the seed that leads to it.

use crate::guest::{relid, Guest};
use crate::host::Host;
use proptest::prelude::*;
use vmbus_proto::message::wire::Status;
use vmbus_proto::*;

/// Something that happens.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// The guest lends memory.
    CreateGpadl,
    /// The guest takes memory back.
    Teardown(u8),
    /// The guest opens a channel.
    Open(u8),
    /// The guest closes it.
    Close,
    /// The guest moves its interrupt.
    Modify(u8),
    /// The guest gives its relid back.
    Release,
    /// The guest gives a request up.
    Abandon(u8),
    /// The guest reads a message.
    Deliver,
    /// The host withdraws the channel.
    Rescind,
    /// The host offers the channel.
    Offer,
    /// The host offers one more channel of the first device.
    OfferSubchannel,
    /// From now on, the host does what it is asked, or does not.
    Status(bool),
    /// An answer is lost.
    Lose,
}

/// Any action, the likelier ones more often.
fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => Just(Action::CreateGpadl),
        2 => any::<u8>().prop_map(Action::Teardown),
        4 => any::<u8>().prop_map(Action::Open),
        2 => Just(Action::Close),
        2 => any::<u8>().prop_map(Action::Modify),
        1 => Just(Action::Release),
        2 => any::<u8>().prop_map(Action::Abandon),
        16 => Just(Action::Deliver),
        1 => Just(Action::Rescind),
        1 => Just(Action::Offer),
        1 => Just(Action::OfferSubchannel),
        1 => any::<bool>().prop_map(Action::Status),
        1 => Just(Action::Lose),
    ]
}

/// The guest, and what it remembers of its memory.
struct World {
    /// The guest.
    guest: Guest,
    /// All memory that was ever lent, by channel.
    gpadls: Vec<(Relid, GpadlId)>,
    /// Whether an answer was lost.
    lost: bool,
}

impl World {
    /// One of the GPADLs of a channel.
    fn gpadl(&self, relid: Relid, choice: u8) -> Option<GpadlId> {
        let own: Vec<_> = self
            .gpadls
            .iter()
            .filter(|(owner, _)| *owner == relid)
            .collect();
        own.get(usize::from(choice) % own.len().max(1))
            .map(|(_, gpadl)| *gpadl)
    }

    /// Lets something happen to channel `number`; what is not allowed is refused.
    fn act(&mut self, number: u32, action: Action) {
        let relid = relid(number);
        let device = u8::try_from(number).unwrap();
        let guest = &mut self.guest;
        match action {
            Action::CreateGpadl => {
                if let Ok(gpadl) = guest.create_gpadl(relid) {
                    assert!(!self.gpadls.contains(&(relid, gpadl)));
                    self.gpadls.push((relid, gpadl));
                }
            }
            Action::Teardown(choice) => {
                if let Some(gpadl) = self.gpadl(relid, choice) {
                    let _ = self.guest.teardown_gpadl(relid, gpadl);
                }
            }
            Action::Open(choice) => {
                if let Some(gpadl) = self.gpadl(relid, choice) {
                    let _ = self.guest.open(relid, gpadl);
                }
            }
            Action::Close => drop(guest.close(relid)),
            Action::Modify(vp) => drop(guest.modify(relid, vp.into())),
            Action::Release => drop(guest.release(relid)),
            Action::Abandon(choice) => {
                let requests = &guest.outstanding;
                let request = requests.get(usize::from(choice) % requests.len().max(1));
                if let Some(request) = request.copied() {
                    guest.abandon(request).unwrap();
                }
            }
            Action::Deliver => drop(guest.deliver()),
            Action::Rescind if guest.host.offers(number) => guest.host.rescind(number),
            Action::Offer if !guest.host.unreleased().contains(&number) => {
                guest.host.offer(number, device, 0);
            }
            Action::OfferSubchannel if !guest.host.unreleased().contains(&number) => {
                guest.host.offer(number, 1, device.into());
            }
            Action::Rescind | Action::Offer | Action::OfferSubchannel => {}
            Action::Status(good) => {
                guest.host.status = if good {
                    Status::SUCCESS
                } else {
                    Status::UNSUCCESSFUL
                };
            }
            Action::Lose => {
                if guest
                    .host
                    .to_guest
                    .front()
                    .is_some_and(|bytes| Host::is_answer(bytes))
                {
                    guest.host.to_guest.pop_front();
                    self.lost = true;
                }
            }
        }
    }

    /// Cleans up as a guest does that is about to unload.
    fn clean_up(&mut self) {
        self.guest.host.status = Status::SUCCESS;
        // Each round closes, takes back or gives back everything that can be by now.
        for _ in 0..4 {
            self.guest.deliver_all();
            let relids: Vec<_> = self
                .guest
                .client
                .table()
                .iter()
                .map(Channel::relid)
                .collect();
            for relid in relids {
                let _ = self.guest.close(relid);
                for (owner, gpadl) in self.gpadls.clone() {
                    let _ = self.guest.teardown_gpadl(owner, gpadl);
                }
                let _ = self.guest.release(relid);
            }
        }
    }
}

proptest! {
    /// The host panics where a relid is given back twice, the guest where a request completes twice.
    #[test]
    fn each_request_completes_once_and_each_relid_is_released_once(
        version in prop::sample::select(Version::SUPPORTED.to_vec()),
        actions in prop::collection::vec((1..5u32, action()), 0..300),
    ) {
        let guest = Guest::connected(version, &[(1, 1, 0), (2, 2, 0)]);
        let mut world = World { guest, gpadls: Vec::new(), lost: false };
        for (number, action) in actions {
            world.act(number, action);
        }
        world.clean_up();
        if !world.lost {
            world.guest.assert_empty();
        }
        world.guest.unload().unwrap();
        world.guest.deliver_all();
        world.guest.assert_empty();
    }
}
