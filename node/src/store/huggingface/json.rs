//! Lists and maps of bounded length, and values that come in two forms, for serde. Equal keys are refused or kept apart,
//! never merged: what one reader drops another may use. Called by `huggingface`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A list of at most `MAX` elements.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct List<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        List(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Elements<T, MAX> {
            type Value = List<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "a list of at most {MAX} elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = list.next_element()? {
                    if elements.len() == MAX {
                        return Err(de::Error::invalid_length(MAX + 1, &self));
                    }
                    elements.push(element);
                }
                Ok(List(elements))
            }
        }
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

/// The entries of an object in their order, at most `MAX`; equal keys are the caller's to find.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entries<T, const MAX: usize>(pub Vec<(String, T)>);

impl<T, const MAX: usize> Default for Entries<T, MAX> {
    fn default() -> Self {
        Entries(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Entries<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<T, const MAX: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Pairs<T, MAX> {
            type Value = Entries<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                write!(f, "an object of at most {MAX} entries")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if entries.len() == MAX {
                        return Err(de::Error::invalid_length(MAX + 1, &self));
                    }
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

/// Present and anything but `null`, `false`, `[]` or `{}`: a feature that is switched on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Used(pub bool);

impl<'de> Deserialize<'de> for Used {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;
        impl<'de> Visitor<'de> for Anything {
            type Value = Used;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_unit<E>(self) -> Result<Used, E> {
                Ok(Used(false))
            }

            fn visit_bool<E>(self, used: bool) -> Result<Used, E> {
                Ok(Used(used))
            }

            fn visit_str<E>(self, text: &str) -> Result<Used, E> {
                Ok(Used(!text.is_empty()))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Used, E> {
                Ok(Used(true))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Used, E> {
                Ok(Used(true))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Used, E> {
                Ok(Used(true))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Used, A::Error> {
                let mut used = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    used = true;
                }
                Ok(Used(used))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Used, A::Error> {
                let mut used = false;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    used = true;
                }
                Ok(Used(used))
            }
        }
        deserializer.deserialize_any(Anything)
    }
}

/// `7`, or the first of `[7, 8]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct FirstId(pub Option<u32>);

impl<'de> Deserialize<'de> for FirstId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ids;
        impl<'de> Visitor<'de> for Ids {
            type Value = FirstId;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a token's number, or a list of them")
            }

            fn visit_unit<E>(self) -> Result<FirstId, E> {
                Ok(FirstId(None))
            }

            // Some files say -1 where there is none.
            fn visit_i64<E>(self, id: i64) -> Result<FirstId, E> {
                Ok(FirstId(u32::try_from(id).ok()))
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<FirstId, E> {
                let id = u32::try_from(id).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(id), &self))?;
                Ok(FirstId(Some(id)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<FirstId, A::Error> {
                let first = list.next_element::<u32>()?;
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(FirstId(first))
            }
        }
        deserializer.deserialize_any(Ids)
    }
}

/// `"<s>"`, or `{"content": "<s>"}`; nothing where there is a truth value or `null`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct TokenText(pub Option<String>);

impl<'de> Deserialize<'de> for TokenText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = TokenText;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a token's text, or an object with its content")
            }

            fn visit_unit<E>(self) -> Result<TokenText, E> {
                Ok(TokenText(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<TokenText, E> {
                Ok(TokenText(None))
            }

            fn visit_str<E>(self, text: &str) -> Result<TokenText, E> {
                Ok(TokenText(Some(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TokenText, A::Error> {
                let mut text = None;
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "content" if text.is_some() => return Err(de::Error::duplicate_field("content")),
                        "content" => text = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(TokenText(text))
            }
        }
        deserializer.deserialize_any(Text)
    }
}
