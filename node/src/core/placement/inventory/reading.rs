//! How serde reads and writes an inventory where its own way would take more than the schema allows: objects are objects and
//! not lists of values, and words are strings.

use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A `T` that stands there as an object.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

pub(in crate::core) fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Object::deserialize(deserializer).map(|object| object.0)
}

pub(in crate::core) fn object_or_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

pub(in crate::core) fn objects<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let objects = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(objects.into_iter().map(|object| object.0).collect())
}

/// The value that a word stands for.
fn word<'de, D: Deserializer<'de>, T: Copy>(
    deserializer: D,
    words: &'static [&'static str],
    values: &[T],
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let position = words.iter().position(|word| *word == text);
    position.and_then(|at| values.get(at)).copied().ok_or_else(|| D::Error::unknown_variant(&text, words))
}

/// A module with `serialize` and `deserialize` for a closed set of words.
macro_rules! words {
    ($module:ident, $type:ty, $($word:literal => $value:path),+) => {
        pub(super) mod $module {
            use serde::{Deserializer, Serializer};

            pub(in super::super) fn serialize<S: Serializer>(value: &$type, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(match value { $($value => $word),+ })
            }

            pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                super::word(deserializer, &[$($word),+], &[$($value),+])
            }
        }
    };
}

words!(strategy, crate::core::placement::plan::Strategy,
    "specialised" => crate::core::placement::plan::Strategy::Specialised,
    "swapping" => crate::core::placement::plan::Strategy::Swapping,
    "mixed" => crate::core::placement::plan::Strategy::Mixed);

words!(role, crate::core::placement::problem::RoleWanted,
    "auto" => crate::core::placement::problem::RoleWanted::Auto,
    "specialised" => crate::core::placement::problem::RoleWanted::Specialised,
    "swapping" => crate::core::placement::problem::RoleWanted::Swapping,
    "delegate" => crate::core::placement::problem::RoleWanted::Delegate);

words!(kind, crate::core::membership::advert::DomainKind,
    "vram" => crate::core::membership::advert::DomainKind::Vram,
    "ram" => crate::core::membership::advert::DomainKind::Ram,
    "unified" => crate::core::membership::advert::DomainKind::Unified);

words!(policy, crate::core::roster::SlotPolicy,
    "pinned" => crate::core::roster::SlotPolicy::Pinned,
    "swappable" => crate::core::roster::SlotPolicy::Swappable);
