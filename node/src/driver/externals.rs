//! External engines, node side: `fednode engine add`, `list` and `remove`, and the look at each of them every few seconds. An
//! engine is durable before it is used. What the core hears of them is always the whole list.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fednode_proto::v1;
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use crate::core::external::{
    AddRefusal, EngineKey, EngineUrl, ExternalHere, Health, NotAUrl, Registration, Registrations, UNVERIFIED,
    Verification, is_model_name, may_answer,
};
use crate::core::limits;
use crate::core::machine::{Input, Machine};
use crate::core::types::SlotName;
use crate::core::view::EngineView;
use crate::driver::event_loop::{Event, Events};
use crate::driver::node::{Node, ended, json};
use crate::driver::seats::host_of;
use crate::engine::{Engine, ExternalEngine, listed, may_ask, models_at};
use crate::store::datadir::DataDir;
use crate::store::externals::{self, ExternalsError};

/// One of them, watched as long as it is here.
struct Live {
    registration: Registration,
    engine: Arc<ExternalEngine>,
    health: Health,
    _watch: AbortOnDropHandle<()>,
}

/// All of this node.
#[derive(Clone)]
pub struct Externals {
    dir: Arc<DataDir>,
    events: Events,
    live: Arc<Mutex<BTreeMap<SlotName, Live>>>,
    /// Held over a whole change, so that whoever only reads never waits for the disk.
    changing: Arc<Mutex<()>>,
    /// Held while the core is told: it must hear the newest list last.
    telling: Arc<tokio::sync::Mutex<()>>,
}

impl Externals {
    /// What the data directory says, watched from now on. Must be called inside a tokio runtime.
    pub fn open(dir: Arc<DataDir>, events: Events) -> Result<Externals, ExternalsError> {
        let known = externals::read(&dir)?;
        let all = Externals { dir, events, live: Arc::default(), changing: Arc::default(), telling: Arc::default() };
        known.iter().for_each(|(slot, registration)| all.begin(slot, registration));
        Ok(all)
    }

    /// The engine that stands in for `slot`, if one is here.
    pub fn of(&self, slot: &SlotName) -> Option<Arc<dyn Engine>> {
        self.lock().get(slot).map(|live| Arc::clone(&live.engine) as Arc<dyn Engine>)
    }

    /// All of them for people, under a roster whose floor is F16, or not.
    pub fn views(&self, floor_f16: bool) -> Vec<EngineView> {
        let view = |(slot, live): (&SlotName, &Live)| {
            let may = may_answer(floor_f16, Verification::Unverified, live.registration.unverified);
            let (state, reason) = match (may, live.health.is_ready()) {
                (false, _) => ("refused", AddRefusal::Floor(*slot).to_string()),
                (true, true) => ("ready", live.health.why().to_owned()),
                (true, false) => ("away", live.health.why().to_owned()),
            };
            EngineView {
                slot: slot.to_string(),
                url: live.registration.url.to_string(),
                model: live.registration.model.clone(),
                state: state.to_owned(),
                reason,
                precision: UNVERIFIED.to_owned(),
                has_key: live.registration.key.is_some(),
            }
        };
        self.lock().iter().map(view).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SlotName, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Registrations {
        let mut all = Registrations::default();
        for (slot, live) in self.lock().iter() {
            let added = all.add(*slot, live.registration.clone());
            assert!(added.is_ok(), "what is here was added within the bounds, one for each slot");
        }
        all
    }

    /// Starts to use and to watch an engine.
    fn begin(&self, slot: &SlotName, registration: &Registration) {
        let Registration { url, model, key, .. } = registration.clone();
        let engine = Arc::new(ExternalEngine::new(url, key, model));
        let (all, watched, of) = (self.clone(), Arc::downgrade(&engine), *slot);
        // Held until it is among the others, so that its first check finds it there.
        let mut live = self.lock();
        let watch = tokio::spawn(async move {
            while let Some(engine) = watched.upgrade() {
                let result = engine.check().await;
                all.checked(&of, &engine, result).await;
                drop(engine);
                tokio::time::sleep(Duration::from_nanos(limits::EXTERNAL_CHECK_PERIOD.0)).await;
            }
        });
        let (registration, health) = (registration.clone(), Health::default());
        live.insert(*slot, Live { registration, engine, health, _watch: AbortOnDropHandle::new(watch) });
    }

    /// Checks an engine now.
    async fn look(&self, slot: &SlotName) {
        let engine = self.lock().get(slot).map(|live| Arc::clone(&live.engine));
        if let Some(engine) = engine {
            let result = engine.check().await;
            self.checked(slot, &engine, result).await;
        }
    }

    /// Notes what a check found; the core hears of changes.
    async fn checked(&self, slot: &SlotName, engine: &Arc<ExternalEngine>, result: Result<(), String>) {
        let changed = {
            let mut all = self.lock();
            // It may have been replaced meanwhile.
            let live = all.get_mut(slot).filter(|live| Arc::ptr_eq(&live.engine, engine));
            live.is_some_and(|live| {
                let changed = live.health.checked(result);
                if changed {
                    let (ready, why, url) = (live.health.is_ready(), live.health.why(), &live.registration.url);
                    tracing::info!(%slot, %url, ready, why, "external engine");
                }
                changed
            })
        };
        if changed {
            self.tell().await;
        }
    }

    async fn tell(&self) {
        let _turn = self.telling.lock().await;
        let here = |(slot, live): (&SlotName, &Live)| ExternalHere {
            slot: *slot,
            ready: live.health.is_ready(),
            unverified: live.registration.unverified,
            verification: Verification::Unverified,
        };
        let all = self.lock().iter().map(here).collect();
        self.events.send(Event::Core(Input::Externals(all))).await;
    }

    /// Changes what is kept, durably, one change at a time; a refusal changes nothing. Called where blocking is allowed.
    fn change<T>(&self, change: impl FnOnce(&mut Registrations) -> Result<T, Status>) -> Result<T, Status> {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.now();
        let mut next = before.clone();
        let done = change(&mut next)?;
        if next != before {
            externals::write(self.dir.path(), &next).map_err(|error| Status::internal(error.to_string()))?;
        }
        let gone: Vec<SlotName> =
            before.iter().filter(|(slot, _)| next.get(slot).is_none()).map(|(slot, _)| *slot).collect();
        // Answers under way keep their engine until they end.
        let gone: Vec<Live> = gone.iter().filter_map(|slot| self.lock().remove(slot)).collect();
        drop(gone);
        next.iter().filter(|(slot, _)| before.get(slot).is_none()).for_each(|(slot, added)| self.begin(slot, added));
        Ok(done)
    }
}

/// Adds or takes out an engine, or neither, and lists them.
pub(super) async fn external(node: &Node, request: v1::ExternalRequest) -> Result<Vec<u8>, Status> {
    use v1::external_request::Action;
    let removed = match request.action {
        None => Vec::new(),
        Some(Action::Add(add)) => {
            added(node, add).await?;
            Vec::new()
        }
        Some(Action::Remove(what)) => removed(node, what).await?,
    };
    let floor_f16 = node.read(floor_f16).await.ok_or_else(ended)?;
    json(&json!({"engines": node.externals.views(floor_f16), "removed": removed}))
}

fn floor_f16(machine: &Machine) -> bool {
    machine.config().catalog.roster().is_none_or(|roster| roster.requires_f16())
}

fn refused(why: impl ToString) -> Status {
    Status::failed_precondition(why.to_string())
}

async fn added(node: &Node, add: v1::AddExternal) -> Result<(), Status> {
    let slot = SlotName::new(&add.slot).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let url: EngineUrl = add.url.parse().map_err(|error: NotAUrl| Status::invalid_argument(error.to_string()))?;
    let key = match add.key.as_str() {
        "" => None,
        text => {
            Some(EngineKey::new(text).ok_or_else(|| Status::invalid_argument("the key has spaces, or is too long"))?)
        }
    };
    let asked = slot;
    let read = move |machine: &Machine| {
        let known = machine.config().catalog.roster().is_some_and(|roster| roster.slot(&asked).is_some());
        (known.then(|| host_of(machine, &asked)), floor_f16(machine))
    };
    let (host, floor) = node.read(read).await.ok_or_else(ended)?;
    match host {
        None => return Err(refused(format!("there is no slot {slot}; `fednode managers` lists the slots"))),
        Some(host) if host != slot => {
            return Err(refused(format!("{slot} is an adapter of what is in {host}: add the engine as {host}")));
        }
        Some(_) => {}
    }
    if !may_answer(floor, Verification::Unverified, add.unverified) {
        return Err(refused(AddRefusal::Floor(slot)));
    }
    may_ask(&url).await.map_err(refused)?;
    let model = model(&url, key.clone(), add.model).await?;
    let registration = Registration { url, model, key, unverified: add.unverified };
    let (all, adding) = (node.externals.clone(), slot);
    let change = move || all.change(|engines| engines.add(adding, registration).map_err(refused));
    let changing = tokio::task::spawn_blocking(change);
    changing.await.map_err(|error| Status::internal(error.to_string()))??;
    node.externals.tell().await;
    // Whoever added it wants to know whether it answers.
    node.externals.look(&slot).await;
    Ok(())
}

/// What the server calls its model: as its owner says, or the only one that it has.
async fn model(url: &EngineUrl, key: Option<EngineKey>, said: String) -> Result<String, Status> {
    if !said.is_empty() {
        return if is_model_name(&said) {
            Ok(said)
        } else {
            Err(Status::invalid_argument("no model can have that name"))
        };
    }
    let unasked =
        |why| refused(format!("{url} cannot be asked for its models: {why}; start it, or name its model with --model"));
    let mut models = models_at(url, key).await.map_err(unasked)?;
    match (models.pop(), models.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(refused(format!("{url} lists no model; name one with --model"))),
        (Some(last), false) => {
            models.push(last);
            Err(refused(format!("{url} has several models; name one with --model: {}", listed(&models))))
        }
    }
}

async fn removed(node: &Node, what: String) -> Result<Vec<SlotName>, Status> {
    let all = node.externals.clone();
    let change = move || {
        all.change(|engines| match engines.remove(&what) {
            gone if gone.is_empty() => Err(refused(format!(
                "there is no external engine for or at {what} here; `fednode engine list` lists them"
            ))),
            gone => Ok(gone),
        })
    };
    let changing = tokio::task::spawn_blocking(change);
    let gone = changing.await.map_err(|error| Status::internal(error.to_string()))??;
    node.externals.tell().await;
    Ok(gone)
}
