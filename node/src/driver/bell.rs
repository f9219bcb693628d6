//! Tinker Bell: the one small model of a machine that delegates. It runs in an engine process of its own, outside every plan and
//! ledger, is never advertised, and answers what `core/route/local` leaves to it. Its weights may be quantised: every answer names
//! their precision, and that it came from here.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fednode_proto::v1;
use fednode_proto::v1::generate_event::Event as Kind;
use tokio::sync::mpsc;

use crate::core::artifact::ArtifactKind;
use crate::core::limits;
use crate::core::machine::Machine;
use crate::core::route::Refusal;
use crate::core::route::local::{self, Forced, LOCAL, LocalModel, Policy, Reason, Route, Surroundings};
use crate::core::types::{NodeId, SlotName};
use crate::core::view::LocalView;
use crate::driver::event_loop::{Event, Events};
use crate::engine::{ChildEngine, LoadSpec, own_program};
use crate::store::gguf;
use crate::wire::asking;

/// Sequences that it computes at once: a person and one of their programs.
const PARALLEL: u32 = 2;
/// It is started again so long after it ended, then twice as long, ...
const RESTART: Duration = Duration::from_secs(1);
/// ... up to this.
const RESTART_MAX: Duration = Duration::from_secs(60);

/// What the owner wants of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BellOptions {
    /// A GGUF file, of any precision.
    pub file: PathBuf,
    /// When it answers.
    pub policy: Policy,
}

/// Why there cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum BellError {
    /// A machine that hosts managers has better to offer.
    #[error(
        "--local-model is for machines that delegate; this one hosts managers: leave it out, or add --role delegate"
    )]
    Hosts,
    /// The file.
    #[error("the local model {file} cannot be used: {why}")]
    File {
        /// Which.
        file: PathBuf,
        /// One sentence.
        why: String,
    },
}

/// The local model, or none.
#[derive(Clone, Default)]
pub struct Bell(Option<Arc<Inner>>);

struct Inner {
    me: NodeId,
    policy: Policy,
    spec: LoadSpec,
    name: String,
    precision: String,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    engine: Option<Arc<ChildEngine>>,
    /// Why there is none, for people; empty while the first one is loaded.
    why: String,
}

/// What is to become of a request.
pub enum Decided {
    /// The local model answers it.
    Here(Answering),
    /// It is routed; its `route` says why, for the answer.
    Federation(v1::GenerateRequest),
    /// Its client insists on what is not there.
    Refused(Refusal),
}

/// A request that the local model answers.
pub struct Answering {
    inner: Arc<Inner>,
    engine: Arc<ChildEngine>,
    request: v1::GenerateRequest,
    reason: Reason,
}

impl Bell {
    /// Looks at the file and begins to load it. Must be called inside a tokio runtime.
    pub fn start(me: NodeId, options: &BellOptions, threads: u32, run_dir: &Path) -> Result<Bell, BellError> {
        let bad = |why: String| BellError::File { file: options.file.clone(), why };
        let model = gguf::inspect(&options.file).map_err(|error| bad(error.to_string()))?;
        if model.kind != ArtifactKind::Model {
            return Err(bad("it is an adapter, not a model".to_owned()));
        }
        if !model.has_chat_template {
            return Err(bad("it has no chat template".to_owned()));
        }
        let context = model.shape.context_max.clamp(1, limits::LOCAL_CONTEXT_MAX);
        let spec = LoadSpec {
            path: options.file.clone(),
            adapters: Vec::new(),
            context,
            parallel: PARALLEL,
            threads,
            private_bytes_max: None,
            turn_folder: None,
            lock: false,
            device: None,
        };
        let file_name = || options.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let inner = Arc::new(Inner {
            me,
            policy: options.policy,
            spec,
            name: model.name.or_else(file_name).unwrap_or_default(),
            precision: model.shape.precision.name().to_owned(),
            live: Mutex::default(),
        });
        tokio::spawn(keep_running(Arc::clone(&inner), run_dir.to_owned()));
        Ok(Bell(Some(inner)))
    }

    /// Is there one, be it only on its way?
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// For people.
    pub fn view(&self) -> Option<LocalView> {
        let inner = self.0.as_ref()?;
        let live = inner.live();
        let state = match (&live.engine, live.why.is_empty()) {
            (Some(_), _) => "ready",
            (None, true) => "loading",
            (None, false) => "failed",
        };
        Some(LocalView {
            model: inner.name.clone(),
            precision: inner.precision.clone(),
            context: inner.spec.context,
            policy: inner.policy.as_str().to_owned(),
            state: state.to_owned(),
            reason: live.why.clone(),
        })
    }

    /// Whether a client's request is answered here.
    pub fn decide(&self, machine: &Machine, request: v1::GenerateRequest) -> Decided {
        let forced = Forced::parse(&request.route);
        let Some(inner) = &self.0 else {
            return match forced {
                Some(Forced::Local) => Decided::Refused(refused(Reason::NoLocalModel, "")),
                // As if there had never been such a thing.
                _ => Decided::Federation(v1::GenerateRequest { route: String::new(), ..request }),
            };
        };
        let forced = if request.slot == LOCAL { Some(Forced::Local) } else { forced };
        let (engine, why) = {
            let live = inner.live();
            (live.engine.clone(), live.why.clone())
        };
        let around = Surroundings {
            // What templates make of tools differs too much among small models to promise them.
            local: engine.as_ref().map(|_| LocalModel { tools: false, context: inner.spec.context }),
            holder_reachable: SlotName::new(&request.slot).is_ok_and(|slot| machine.has_holder(&slot)),
        };
        let (route, reason) = local::decide(inner.policy, forced, &asking::features(&request), &around);
        match (route, engine) {
            (Route::Local, Some(engine)) => {
                Decided::Here(Answering { inner: Arc::clone(inner), engine, request, reason })
            }
            (Route::Refused, _) => Decided::Refused(refused(reason, &why)),
            _ => {
                let route = said(Forced::Federation, reason);
                Decided::Federation(v1::GenerateRequest { route, ..request })
            }
        }
    }

    /// Ends its process.
    pub async fn stop(&self) {
        let engine = self.0.as_ref().and_then(|inner| inner.live().engine.take());
        if let Some(engine) = engine {
            engine.stop().await;
        }
    }
}

impl Inner {
    fn live(&self) -> std::sync::MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loads it, and again whenever it has ended.
async fn keep_running(inner: Arc<Inner>, run_dir: PathBuf) {
    let mut rest = RESTART;
    loop {
        match load(&inner, &run_dir).await {
            Ok(engine) => {
                tracing::info!(model = inner.name, precision = inner.precision, "the local model is ready");
                rest = RESTART;
                let exited = engine.exited();
                inner.live().engine = Some(Arc::new(engine));
                let how = exited.await;
                let mut live = inner.live();
                // Taken out already: the node ends.
                if live.engine.take().is_none() {
                    return;
                }
                live.why = format!("its engine was {how}");
            }
            Err(why) => inner.live().why = why,
        }
        tracing::warn!(model = inner.name, why = inner.live().why, "the local model does not run; it is started again");
        tokio::time::sleep(rest).await;
        rest = (rest * 2).min(RESTART_MAX);
    }
}

async fn load(inner: &Inner, run_dir: &Path) -> Result<ChildEngine, String> {
    let started = ChildEngine::start(&own_program()?, run_dir, &inner.spec, |_| {}).await;
    started.map(|(engine, _)| engine).map_err(|error| error.to_string())
}

impl Answering {
    /// Streams the answer. What fails before its first token goes to the federation, unless the client insists.
    pub async fn run(self, answer: mpsc::Sender<v1::GenerateEvent>, events: Events) {
        let asked = v1::GenerateRequest { domain: String::new(), ..self.request.clone() };
        let mut generated = self.engine.generate(asked);
        let mut begun = false;
        while let Some(event) = generated.recv().await {
            let event = match event.event {
                Some(Kind::Error(error)) if !begun && self.reason != Reason::Forced => {
                    tracing::info!(code = error.code, "the local model does not answer; the federation is asked");
                    let request = v1::GenerateRequest { route: Forced::Federation.as_str().to_owned(), ..self.request };
                    events.send(Event::Request(request, false, answer)).await;
                    return;
                }
                Some(Kind::Start(start)) => Some(Kind::Start(self.stamp(start))),
                other => {
                    begun |= matches!(other, Some(Kind::Text(_) | Kind::Logprobs(_)));
                    other
                }
            };
            // Whoever has gone needs no more of it: dropping `generated` ends it in the engine.
            if answer.send(v1::GenerateEvent { event }).await.is_err() {
                return;
            }
        }
    }

    fn stamp(&self, start: v1::GenerateStart) -> v1::GenerateStart {
        v1::GenerateStart {
            node: self.inner.me.0.to_vec(),
            precision: self.inner.precision.clone(),
            route: said(Forced::Local, self.reason),
            ..start
        }
    }
}

/// What stands in `X-Fednode-Route` of an answer.
fn said(whither: Forced, reason: Reason) -> String {
    format!("{}; {}", whither.as_str(), reason.as_str())
}

fn refused(reason: Reason, why: &str) -> Refusal {
    let message = match reason {
        Reason::NoLocalModel if !why.is_empty() => format!("the local model does not run: {why}"),
        Reason::NoLocalModel => {
            "this node has no local model that is ready; start it with --local-model FILE".to_owned()
        }
        Reason::Context => {
            "the local model has not enough context for this; leave out X-Fednode-Route: local".to_owned()
        }
        _ => "the local model calls no tools; leave out X-Fednode-Route: local".to_owned(),
    };
    let code = if reason == Reason::NoLocalModel { "not_resident" } else { "bad_request" };
    Refusal { code, message }
}
