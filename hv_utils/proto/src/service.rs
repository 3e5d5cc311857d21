// SPDX-License-Identifier: GPL-2.0

//! The services by GUID and version.

use crate::{fcopy, heartbeat, kvp, shutdown, timesync, vss, Version};
use hvdef::Guid;

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// The host shuts the guest down.
    Shutdown,
    /// The guest shows that it lives.
    Heartbeat,
    /// The host tells the time.
    Timesync,
    /// Key-value pairs are exchanged.
    Kvp,
    /// The host has file systems frozen for a backup.
    Vss,
    /// The host copies files into the guest.
    Fcopy,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Shutdown,
        Self::Heartbeat,
        Self::Timesync,
        Self::Kvp,
        Self::Vss,
        Self::Fcopy,
    ];

    /// A short name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shutdown => "shutdown",
            Self::Heartbeat => "heartbeat",
            Self::Timesync => "timesync",
            Self::Kvp => "kvp",
            Self::Vss => "vss",
            Self::Fcopy => "fcopy",
        }
    }

    /// What the kernel's log calls it, where people look for `IC version`.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Shutdown => "Shutdown",
            Self::Heartbeat => "Heartbeat",
            Self::Timesync => "TimeSync",
            Self::Kvp => "KVP",
            Self::Vss => "VSS",
            Self::Fcopy => "FCopy",
        }
    }

    /// The class GUID of its offer.
    #[must_use]
    pub const fn class(self) -> Guid {
        match self {
            Self::Shutdown => Guid::parse("0e0b6031-5213-4934-818b-38d90ced39db"),
            Self::Heartbeat => Guid::parse("57164f39-9115-4e78-ab55-382f3bd5422d"),
            Self::Timesync => Guid::parse("9527e630-d0ae-497b-adce-e80ab0175caf"),
            Self::Kvp => Guid::parse("a9a0f4e7-5a45-4d96-b827-8a841e8c03e6"),
            Self::Vss => Guid::parse("35fa2e29-ea23-4236-96ae-3a6ebacba440"),
            Self::Fcopy => Guid::parse("34d14be3-dee4-41c8-9ae7-6b174977c192"),
        }
    }

    /// The instance GUID of its offer. Hyper-V gives each service the same one in every VM, and the fcopy daemon of
    /// Linux looks for its own by name.
    #[must_use]
    pub const fn instance(self) -> Guid {
        match self {
            Self::Shutdown => Guid::parse("b6650ff7-33bc-4840-8048-e0676786f393"),
            Self::Heartbeat => Guid::parse("fd149e91-82e0-4a7d-afa6-2a4166cbd7c0"),
            Self::Timesync => Guid::parse("2dd1ce17-079e-403c-b352-a1921ee207ee"),
            Self::Kvp => Guid::parse("242ff919-07db-4180-9c2e-b86cb68c8c55"),
            Self::Vss => Guid::parse("2450ee40-33bf-4fbd-892e-9fb06e9214cf"),
            Self::Fcopy => Guid::parse("eb765408-105f-49b6-b4aa-c123b64d17d4"),
        }
    }

    /// The framework versions that Linux speaks to this service, the best first.
    #[must_use]
    pub const fn framework_versions(self) -> &'static [Version] {
        const V1_0: Version = Version::new(1, 0);
        const V3_0: Version = Version::new(3, 0);
        match self {
            Self::Vss | Self::Fcopy => &[V3_0],
            _ => &[V3_0, V1_0],
        }
    }

    /// The message versions that Linux speaks, the best first.
    #[must_use]
    pub const fn message_versions(self) -> &'static [Version] {
        match self {
            Self::Shutdown => &shutdown::VERSIONS,
            Self::Heartbeat => &heartbeat::VERSIONS,
            Self::Timesync => &timesync::VERSIONS,
            Self::Kvp => &kvp::VERSIONS,
            Self::Vss => &vss::VERSIONS,
            Self::Fcopy => &fcopy::VERSIONS,
        }
    }
}
