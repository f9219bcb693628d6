//! page
use super::Study;
/// html
pub fn html(_: &Study) -> String {
    String::new()
}
