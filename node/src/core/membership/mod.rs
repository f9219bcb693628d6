//! Who belongs, who is there, and what each says of itself.

pub mod advert;
pub mod change;
pub mod roster;
pub mod table;
