// SPDX-License-Identifier: GPL-2.0

//! Messages of the host, alone and as events of the client.

use std::collections::BTreeMap;

use vmbus_proto::{
    Channel, ChannelState, ChannelTable, Client, Contact, Event, FeatureFlags, GpadlId, Message,
    OpenParams, Range, Relid, Request, TableFull, Version,
};

use crate::input::Input;

/// Channels that the table holds at most.
const CAPACITY: usize = 4;

/// A version and features, then a message.
pub(crate) fn message(bytes: &[u8]) {
    let mut input = Input(bytes);
    let version = Version(input.u32());
    let features = FeatureFlags::from_bits_retain(input.u32());
    let _ = Message::parse(input.0, version, features);
    let _ = vmbus_proto::is_unload_response(input.0);
}

/// Steps: a message of the host, or one of the requests of the guest.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut client = Client::new(Table::default());
    let mut gpadls = Vec::new();
    while !input.is_empty() {
        let choice = input.u8() % 16;
        let relid =
            Relid::new(u32::from(input.u8() % 8)).unwrap_or(Relid::new(1).expect("is valid"));
        let gpadl = gpadls
            .get(usize::from(input.u8() % 4))
            .copied()
            .unwrap_or(GpadlId(0));
        match choice {
            0..=5 => {
                let len = usize::from(input.u8());
                let before = state(&client);
                match client.handle_message(input.bytes(len)) {
                    Ok(event) => handle(event),
                    Err(_) => assert_eq!(state(&client), before, "an error changes nothing"),
                }
            }
            6 => {
                let contact = Contact {
                    max_version: Version(input.u32()),
                    target_vp: 0,
                    interrupt_page: 0x1000,
                    parent_to_child_monitor_page: 0x2000,
                    child_to_parent_monitor_page: 0x3000,
                };
                let _ = client.initiate_contact(contact);
            }
            7 => drop(client.contact_unreachable().map(handle)),
            8 => drop(client.request_offers()),
            9 => {
                let Ok(range) = Range::bytes(u32::from(input.u16()), u32::from(input.u16()) << 4)
                else {
                    continue;
                };
                if let Ok((id, messages)) = client.create_gpadl(relid, range, core::iter::repeat(7))
                {
                    assert!(messages.take(1000).count() < 1000);
                    gpadls.insert(0, id);
                }
            }
            10 => drop(client.teardown_gpadl(relid, gpadl)),
            11 => {
                let params = OpenParams {
                    ring: gpadl,
                    target_vp: input.u32(),
                    downstream_page_offset: u32::from(input.u8()),
                    user_data: [0; 120],
                };
                let _ = client.open(relid, &params);
            }
            12 => drop(client.close(relid)),
            13 => drop(client.modify_channel(relid, input.u32())),
            14 => drop(client.release(relid)),
            _ => {
                let request = match input.u8() % 8 {
                    0 => Request::Contact,
                    1 => Request::Offers,
                    2 => Request::Open(relid),
                    3 => Request::CreateGpadl(relid, gpadl),
                    4 => Request::TeardownGpadl(relid, gpadl),
                    5 => Request::ModifyChannel(relid),
                    6 => Request::Unload,
                    _ => {
                        let _ = client.unload();
                        continue;
                    }
                };
                let taken_back = if input.u8() % 2 == 0 {
                    client.not_posted(request)
                } else {
                    client.abandon(request)
                };
                let _ = taken_back;
            }
        }
        assert!(client.table().iter().count() <= CAPACITY);
    }
}

/// What can be seen of a client.
fn state(client: &Client<Table>) -> (Option<Version>, Vec<(Relid, ChannelState, bool)>) {
    let channels = client.table().iter();
    let channels = channels.map(|channel| (channel.relid(), channel.state(), channel.has_gpadls()));
    (client.version(), channels.collect())
}

/// Does with an event what the caller of the client must.
fn handle(event: Event) {
    match event {
        Event::OfferRefused { release, .. } => drop(release.message()),
        Event::Rescinded { pending, .. } => assert!(pending.iter().count() < 100),
        _ => {}
    }
}

/// A small table of channels that insists on its contract.
#[derive(Debug, Default)]
struct Table(BTreeMap<Relid, Channel>);

impl ChannelTable for Table {
    fn get(&self, relid: Relid) -> Option<&Channel> {
        self.0.get(&relid)
    }

    fn get_mut(&mut self, relid: Relid) -> Option<&mut Channel> {
        self.0.get_mut(&relid)
    }

    fn insert(&mut self, channel: Channel) -> Result<(), TableFull> {
        if self.0.len() == CAPACITY {
            return Err(TableFull);
        }
        assert!(self.0.insert(channel.relid(), channel).is_none());
        Ok(())
    }

    fn remove(&mut self, relid: Relid) {
        assert!(self.0.remove(&relid).is_some());
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.0.values()
    }
}
