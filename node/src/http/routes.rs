//! Every route of the API, once: the router is built from this table, and so is the document at `/openapi.json`. A route that is
//! not described cannot be there.

use axum::Router;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::openapi::{Operation, schemas};
use super::{
    Backend, Edge, chat, completions, dashboard, events, metrics, models, ollama, openapi, owner, responses, task,
};

/// One route.
pub(super) struct Route<B> {
    pub path: &'static str,
    pub method: Method,
    pub operation: Operation,
    handler: MethodRouter<Edge<B>>,
}

fn route<B, H, T>(path: &'static str, filter: MethodFilter, handler: H, operation: Operation) -> Route<B>
where
    B: Backend,
    H: Handler<T, Edge<B>>,
    T: 'static,
{
    let method = if filter == MethodFilter::GET { Method::GET } else { Method::POST };
    Route { path, method, operation, handler: on(filter, handler) }
}

pub(super) fn get<B: Backend, H: Handler<T, Edge<B>>, T: 'static>(
    path: &'static str,
    handler: H,
    is: Operation,
) -> Route<B> {
    route(path, MethodFilter::GET, handler, is)
}

fn post<B: Backend, H: Handler<T, Edge<B>>, T: 'static>(path: &'static str, handler: H, is: Operation) -> Route<B> {
    route(path, MethodFilter::POST, handler, is)
}

/// All of them.
pub(super) fn all<B: Backend>() -> Vec<Route<B>> {
    use Operation as Is;
    let mut all = openai::<B>();
    all.extend(dashboard::routes::<B>());
    all.extend(watched::<B>());
    all.extend([
        post(
            "/api/chat",
            ollama::chat::<B>,
            Is::manager("Chat, as Ollama's API has it", schemas::ollama_chat()).lines(),
        ),
        post("/api/generate", ollama::generate::<B>, {
            Is::manager("Answer one prompt, as Ollama's API has it", schemas::ollama_generate()).lines()
        }),
        post(
            "/api/show",
            ollama::show::<B>,
            Is::about("One manager, as Ollama's API has it").body(schemas::ollama_show()),
        ),
        get("/api/tags", ollama::tags::<B>, Is::about("All managers, as Ollama's API has it")),
        get("/api/ps", ollama::running::<B>, Is::about("Resident managers, as Ollama's API has it")),
        get("/api/version", ollama::version, Is::about("fednode's version, as Ollama's API has it")),
        get("/health", super::alive, Is::open("The process answers")),
        get("/healthz", super::alive, Is::open("The process answers")),
        get("/readyz", super::ready::<B>, Is::about("A coordinator is known").may_fail(&[503])),
        get("/state", super::state::<B>, Is::about("All that this node knows of the federation")),
        get("/openapi.json", openapi::serve::<B>, Is::about("This document")),
    ]);
    all
}

/// What the dashboard and Prometheus look at, and what only the owner may do.
fn watched<B: Backend>() -> [Route<B>; 5] {
    use Operation as Is;
    [
        get("/metrics", metrics::serve::<B>, {
            Is::about("This node's figures for Prometheus").of_kind(metrics::CONTENT_TYPE)
        }),
        get("/events", events::serve::<B>, Is::about("What there is to watch").of_kind("text/event-stream")),
        get("/plan", super::plan::<B>, Is::about("The plan and why it is so").may_fail(&[503])),
        post("/owner/invite", owner::invite::<B>, Is::about("Make a ticket").body(schemas::owner_invite())),
        post("/owner/revoke", owner::revoke::<B>, Is::about("Turn a member out").body(schemas::owner_revoke())),
    ]
}

fn openai<B: Backend>() -> Vec<Route<B>> {
    use Operation as Is;
    vec![
        post("/v1/chat/completions", chat::completions::<B>, Is::manager("Chat", schemas::chat()).events()),
        post("/v1/completions", completions::completions::<B>, {
            Is::manager("Continue text without a chat template", schemas::completion()).events()
        }),
        post("/v1/responses", responses::create::<B>, Is::manager("Answer with text", schemas::response()).events()),
        post("/v1/embeddings", task::embeddings::<B>, Is::manager("Texts as vectors", schemas::embeddings())),
        post("/tokenize", task::tokenize::<B>, Is::manager("Text as tokens", schemas::tokenize())),
        post("/detokenize", task::detokenize::<B>, Is::manager("Tokens as text", schemas::detokenize())),
        get("/v1/models", models::list::<B>, Is::about("All managers")),
        get("/v1/models/{id}", models::one::<B>, Is::about("One manager").path_id().may_fail(&[404])),
    ]
}

/// The router of all of them.
pub(super) fn router<B: Backend>() -> Router<Edge<B>> {
    all::<B>().into_iter().fold(Router::new(), |router, route| router.route(route.path, route.handler))
}
