// SPDX-License-Identifier: GPL-2.0

//! The macro for integers that name things, where a peer may use names that we do not know.

/// Defines a transparent integer newtype with named values.
///
/// An unknown value is legal, survives a round trip and prints as hexadecimal. Give no two names the same value.
///
/// ```
/// hvdef::open_enum! {
///     /// A colour on the wire.
///     pub enum Colour: u16 {
///         /// Red.
///         RED = 1,
///     }
/// }
/// assert_eq!(format!("{:?} {:?}", Colour::RED, Colour(0x10)), "RED 0x10");
/// assert_eq!((Colour::RED.name(), Colour(0x10).name()), (Some("RED"), None));
/// ```
#[macro_export]
macro_rules! open_enum {
    (
        $(#[$attr:meta])*
        $vis:vis enum $name:ident: $repr:ty {
            $($(#[$value_attr:meta])* $value:ident = $number:expr,)*
        }
    ) => {
        $(#[$attr])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        $vis struct $name(pub $repr);

        impl $name {
            $($(#[$value_attr])* pub const $value: Self = Self($number);)*

            /// The specification's name for this value, if it is a known one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self {
                    $(Self::$value => Some(stringify!($value)),)*
                    _ => None,
                }
            }
        }

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{:#x}", self.0),
                }
            }
        }
    };
}
