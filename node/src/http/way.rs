//! What the way by which a request came says about its routing: whose it is, how long it is willing to wait for a manager, and
//! whether its client insists on where it is answered. None of it is in the body.

use axum::extract::Request;
use axum::http::HeaderMap;
use fednode_proto::v1;

use super::ApiError;
use super::access::Caller;
use super::error::echo;
use crate::core::limits;
use crate::core::route::ClientId;
use crate::core::route::local::Forced;
use crate::wire::traceparent::TraceParent;

/// Whole seconds that a request waits for a replica; 0: not at all. More than `REQUEST_WAIT` counts as that.
const WAIT: &str = "x-fednode-wait";
/// `local` or `federation`.
const ROUTE: &str = "x-fednode-route";
/// W3C Trace Context. What cannot be one is left out, as it says.
const TRACE: &str = "traceparent";

/// See the top of this file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Way {
    client: ClientId,
    wait_s: Option<u64>,
    route: Option<Forced>,
    /// The client's own span, if it names one that can be.
    trace: Option<TraceParent>,
}

impl Way {
    /// By its head; the gate has let it pass.
    pub(super) fn of(request: &Request) -> Result<Way, ApiError> {
        let client = request.extensions().get::<Caller>().map_or(0, Caller::client);
        let named = request.headers().get(TRACE).and_then(|value| value.to_str().ok());
        let trace = named.and_then(TraceParent::parse);
        Ok(Way { client, wait_s: wait(request.headers())?, route: route(request.headers())?, trace })
    }

    /// A request with what is known of its way.
    pub(super) fn stamp(&self, request: v1::GenerateRequest) -> v1::GenerateRequest {
        // 0 says nothing in a message: a request that does not wait waits a millisecond.
        let deadline_ms = self.wait_s.map_or(request.deadline_ms, |seconds| (seconds * 1000).max(1));
        let route = self.route.map(|forced| forced.as_str().to_owned()).unwrap_or_default();
        let traceparent = self.trace.map(|parent| parent.to_text()).unwrap_or_default();
        v1::GenerateRequest { client: self.client, deadline_ms, route, traceparent, ..request }
    }
}

fn wait(headers: &HeaderMap) -> Result<Option<u64>, ApiError> {
    let Some(value) = headers.get(WAIT) else { return Ok(None) };
    let seconds = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
    let most = limits::REQUEST_WAIT.as_millis() / 1000;
    let wrong = || ApiError::invalid("X-Fednode-Wait", "X-Fednode-Wait must be whole seconds, 0 for not at all");
    seconds.map(|seconds| Some(seconds.min(most))).ok_or_else(wrong)
}

fn route(headers: &HeaderMap) -> Result<Option<Forced>, ApiError> {
    let Some(value) = headers.get(ROUTE) else { return Ok(None) };
    let text = String::from_utf8_lossy(value.as_bytes());
    let forced = Forced::parse(text.trim());
    let wrong = || {
        let message = format!("X-Fednode-Route must be local or federation, not {:?}", echo(&text));
        ApiError::invalid("X-Fednode-Route", message)
    };
    forced.map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn way(headers: &[(&str, &str)]) -> Result<Way, ApiError> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Way::of(&request.body(Body::empty()).unwrap())
    }

    fn check(value: &str, deadline_ms: u64) {
        let stamped = way(&[(WAIT, value)]).unwrap().stamp(v1::GenerateRequest::default());
        assert_eq!(stamped.deadline_ms, deadline_ms, "{value:?}");
    }

    #[test]
    fn how_long_to_wait_is_whole_seconds() {
        check("0", 1);
        check(" 7 ", 7_000);
        check("99999999999", limits::REQUEST_WAIT.as_millis());
        let plain = v1::GenerateRequest { deadline_ms: 5, ..v1::GenerateRequest::default() };
        assert_eq!(way(&[]).unwrap().stamp(plain.clone()), plain);
        for wrong in ["", "-1", "1.5", "soon", "99999999999999999999"] {
            let refused = way(&[(WAIT, wrong)]).expect_err(wrong);
            assert_eq!((refused.status.as_u16(), refused.param.as_deref()), (400, Some("X-Fednode-Wait")));
        }
    }

    #[test]
    fn a_clients_trace_goes_on_and_what_is_none_is_left_out() {
        let word = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (given, expect) in [(word, word), ("00-4bf92f", ""), ("", "")] {
            let stamped = way(&[(TRACE, given)]).unwrap().stamp(v1::GenerateRequest::default());
            assert_eq!(stamped.traceparent, expect);
        }
    }

    #[test]
    fn where_to_answer_is_one_of_two_words() {
        let stamped = way(&[(ROUTE, "local")]).unwrap().stamp(v1::GenerateRequest::default());
        assert_eq!(stamped.route, "local");
        let refused = way(&[(ROUTE, "lokal")]).expect_err("no such word");
        assert_eq!((refused.status.as_u16(), refused.param.as_deref()), (400, Some("X-Fednode-Route")));
    }
}
