// SPDX-License-Identifier: GPL-2.0

//! The kinds of devices that hosts offer, by GUID.

use hvdef::Guid;

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// The class GUID of its offers.
    pub id: Guid,
    /// A short name.
    pub name: &'static str,
    /// The name that the tool lsvmbus shows.
    pub description: &'static str,
    /// Whether its channels deserve to be spread over the VPs (`perf_device`).
    pub performance: bool,
    /// Whether the class is of use to Linux; the others are ignored silently.
    pub supported: bool,
}

impl Class {
    /// The class with this GUID, if it is known.
    #[must_use]
    pub fn find(id: &Guid) -> Option<&'static Self> {
        ALL.iter().find(|class| class.id == *id)
    }

    /// The short name of the class with this GUID, or "unknown".
    #[must_use]
    pub fn name(id: &Guid) -> &'static str {
        Self::find(id).map_or("unknown", |class| class.name)
    }
}

/// Defines a constant for every class, and the list of all.
///
/// A line is: constant, GUID, short name, description, performance, supported.
macro_rules! classes {
    ($($constant:ident $id:literal $name:literal $description:literal $performance:literal $supported:literal;)*) => {
        $(
            #[doc = concat!("`", $description, "`.")]
            pub const $constant: Class = Class {
                id: Guid::parse($id),
                name: $name,
                description: $description,
                performance: $performance,
                supported: $supported,
            };
        )*

        /// Every class that is known. The place of a supported one is the number of its kind (`enum vmbus_device_type`),
        /// which user space sees.
        pub static ALL: &[Class] = &[$($constant,)*];
    };
}

classes! {
    IDE "32412632-86cb-44a2-9b5c-50d1417354f5" "ide" "Synthetic IDE Controller" true true;
    SCSI "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f" "scsi" "Synthetic SCSI Controller" true true;
    FC "2f9bcc4a-0069-4af3-b76b-6fd0be528cda" "fc" "Synthetic fiber channel adapter" true true;
    NIC "f8615163-df3e-46c5-913f-f2d2f965ed0e" "nic" "Synthetic network adapter" true true;
    ND "8c2eaf3d-32a7-4b09-ab99-bd1f1c86b501" "nd" "Synthetic RDMA adapter" true true;
    PCIE "44c4f61d-4444-4400-9d52-802e27ede19f" "pcie" "PCI Express pass-through" false true;
    FB "da0a7802-e377-4aac-8e77-0558eb1073f8" "fb" "Synthetic framebuffer adapter" false true;
    KBD "f912ad6d-2b17-48ea-bd65-f927a61c7684" "kbd" "Synthetic keyboard" false true;
    MOUSE "cfa8b69e-5b4a-4cc0-b98b-8ba1a1f3f95a" "mouse" "Synthetic mouse" false true;
    KVP "a9a0f4e7-5a45-4d96-b827-8a841e8c03e6" "kvp" "[Data Exchange]" false true;
    TS "9527e630-d0ae-497b-adce-e80ab0175caf" "ts" "[Time Synchronization]" false true;
    HB "57164f39-9115-4e78-ab55-382f3bd5422d" "hb" "[Heartbeat]" false true;
    SHUTDOWN "0e0b6031-5213-4934-818b-38d90ced39db" "shutdown" "[Operating system shutdown]" false true;
    FCOPY "34d14be3-dee4-41c8-9ae7-6b174977c192" "fcopy" "[Guest services]" false true;
    BACKUP "35fa2e29-ea23-4236-96ae-3a6ebacba440" "backup" "[Backup (volume checkpoint)]" false true;
    DM "525074dc-8985-46e2-8057-a307dc18a502" "dm" "[Dynamic Memory]" false true;
    AVMA1 "f8e65716-3cb3-4a06-9a60-1889c5cccab5" "avma1" "[Reserved system device]" false false;
    AVMA2 "3375baf4-9e15-4b30-b765-67acb10d607b" "avma2" "[Reserved system device]" false false;
    RDV "276aacf4-ac15-426c-98dd-7521ad3f01fe" "rdv" "[Reserved system device]" false false;
    IMC "c376c1c3-d276-48d2-90a9-c04748072c60" "imc" "[Initial machine configuration]" false false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_found_by_guid() {
        assert_eq!(Class::find(&SCSI.id), Some(&SCSI));
        assert_eq!(Class::name(&NIC.id), "nic");
        assert_eq!(Class::name(&Guid::ZERO), "unknown");
        assert!(!Class::find(&IMC.id).unwrap().supported);
    }

    #[test]
    fn the_order_is_that_of_the_numbers_that_user_space_sees() {
        let supported = ALL.iter().take_while(|class| class.supported);
        let names: std::vec::Vec<_> = supported.map(|class| class.name).collect();
        let numbered = [
            "ide", "scsi", "fc", "nic", "nd", "pcie", "fb", "kbd", "mouse", "kvp", "ts", "hb",
            "shutdown", "fcopy", "backup", "dm",
        ];
        assert_eq!(names, numbered);
        assert!(ALL[names.len()..].iter().all(|class| !class.supported));
    }

    #[test]
    fn no_two_classes_share_a_guid_or_a_name() {
        for (index, class) in ALL.iter().enumerate() {
            for other in &ALL[index + 1..] {
                assert!(
                    class.id != other.id && class.name != other.name,
                    "{}",
                    other.name
                );
            }
        }
    }
}
