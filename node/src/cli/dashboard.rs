//! `fednode dashboard`: the address of the dashboard, with a session in which this machine's owner may invite and revoke.

use std::path::Path;

use fednode_proto::v1;
use serde_json::json;

use super::admin;
use super::exit::Failure;
use super::run::Out;
use crate::core::limits;

pub(super) async fn run(out: Out, data_dir: &Path) -> Result<(), Failure> {
    let session = admin::connect(data_dir).await?.dashboard(v1::DashboardRequest {}).await?.into_inner();
    let v1::DashboardReply { url, expires_unix_s } = session;
    let document = json!({"url": url, "expires_unix_s": expires_unix_s});
    out.say(&document, || explain(&url));
    Ok(())
}

fn explain(url: &str) -> String {
    let hours = limits::OWNER_SESSION_LIFE_S / 3600;
    format!(
        "Open this in a browser on this machine; for {hours} h it may invite and revoke machines, so keep it to yourself:\n\n  {url}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::golden;
    use crate::cli::table::prose;

    #[test]
    fn the_address_stands_on_a_line_of_its_own_and_what_it_may_is_said() {
        let text = explain("http://127.0.0.1:7717/#owner=00");
        golden::check("dashboard", |columns| prose(&text, columns));
        assert!(text.contains("for 8 h") && text.ends_with("\n\n  http://127.0.0.1:7717/#owner=00\n"), "{text}");
    }
}
