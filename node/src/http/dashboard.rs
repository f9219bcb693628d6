//! The dashboard: a page, its style and its scripts, in the binary. They are the same for everybody and hold no secret, so
//! whoever reaches this node may have them; what they show they ask of the API like any other client.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::Backend;
use super::openapi::Operation;
use super::routes::{Route, get};

/// Nothing but this node's own files and answers; nobody may frame the page, and no text can become a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// One file.
struct File {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! file {
    ($path:literal, $kind:literal, $name:literal) => {
        File { path: $path, kind: $kind, text: include_str!(concat!("../../web/", $name)) }
    };
}

const FILES: [File; 10] = [
    file!("/", "text/html; charset=utf-8", "index.html"),
    file!("/dashboard/style.css", "text/css; charset=utf-8", "style.css"),
    file!("/dashboard/icon.svg", "image/svg+xml", "icon.svg"),
    file!("/dashboard/main.js", "text/javascript; charset=utf-8", "main.js"),
    file!("/dashboard/api.js", "text/javascript; charset=utf-8", "api.js"),
    file!("/dashboard/dom.js", "text/javascript; charset=utf-8", "dom.js"),
    file!("/dashboard/overview.js", "text/javascript; charset=utf-8", "overview.js"),
    file!("/dashboard/charts.js", "text/javascript; charset=utf-8", "charts.js"),
    file!("/dashboard/chat.js", "text/javascript; charset=utf-8", "chat.js"),
    file!("/dashboard/owner.js", "text/javascript; charset=utf-8", "owner.js"),
];

/// A route for each file.
pub(super) fn routes<B: Backend>() -> impl Iterator<Item = Route<B>> {
    FILES.iter().map(|file| {
        let operation = Operation::open("A file of the dashboard").of_kind(file.kind);
        get(file.path, move || async move { file.response() }, operation)
    })
}

impl File {
    fn response(&self) -> Response {
        let headers: [(HeaderName, HeaderValue); 6] = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.kind)),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            // Another version of the node has other files under these names.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        (headers, self.text).into_response()
    }
}

/// May this be had without a key?
pub(super) fn is_file(path: &str) -> bool {
    FILES.iter().any(|file| file.path == path)
}
