//! Requests and engines. A request is opened by a person or by a member; the machine chooses a replica; a node's CPU computes
//! one answer at a time, in the order in which they came, first its prompt and then its tokens, and so does each of its GPUs
//! beside it. Only the first and the last token are told, as the core hears of no others.

use fednode::core::limits;
use fednode::core::machine::Input;
use fednode::core::route::{self, ClientId, Refusal, RequestId, Tokens};
use fednode::core::types::{DomainName, Duration, NodeId, SlotName, Time};

use crate::world::World;
use crate::world::calls::{Ask, Reply, Waiting};
use crate::world::event::Event;
use crate::world::node::CallId;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Of whom.
    pub slot: SlotName,
    /// With which adapter.
    pub domain: Option<DomainName>,
    /// Length of the prompt.
    pub prompt_tokens: u64,
    /// Length of the answer.
    pub tokens: u64,
}

/// Who asked.
#[derive(Clone, Copy, Debug)]
pub enum Origin {
    /// A person, in a chat session.
    Person {
        /// Which.
        session: u64,
    },
    /// A member, on a stream.
    Peer {
        /// Which.
        from: usize,
        /// On which connection.
        link: u64,
        /// Its question's number.
        call: CallId,
    },
}

/// A request that has not ended.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// Who asked.
    pub origin: Origin,
    /// What.
    pub question: Question,
    /// When.
    pub asked: Time,
    /// Its first token went out.
    pub started: bool,
    /// An attempt is under way.
    pub attempt: bool,
    /// No replica of its manager was ready when it was asked.
    pub cold: bool,
    /// Why the last attempt failed.
    pub failure: Option<Refusal>,
}

/// A request that an engine here works on or will.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its number.
    pub id: u64,
    /// The request.
    pub request: RequestId,
    /// Its slot.
    pub slot: SlotName,
}

/// Each person is a client.
fn whose(origin: Origin) -> ClientId {
    match origin {
        Origin::Person { session } => session,
        Origin::Peer { .. } => 0,
    }
}

impl World {
    pub(super) fn asked_to_generate(&mut self, node: usize, question: Question, origin: Origin) {
        let now = self.now;
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let request = process.request_next;
        process.request_next += 1;
        let ask = route::Ask {
            slot: question.slot,
            domain: question.domain,
            local_only: matches!(origin, Origin::Peer { .. }),
            unverified: false, // nobody in these worlds runs servers beside a node
            client: whose(origin),
            conversation: None,
            tokens: u32::try_from(question.prompt_tokens + question.tokens).unwrap_or(u32::MAX),
            deadline: process.clock.local(now).after(limits::REQUEST_WAIT),
        };
        let cold = matches!(origin, Origin::Person { .. }) && !self.is_ready_somewhere(node, &question.slot);
        self.stats.waited_for_load += u64::from(cold);
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let open = OpenRequest { origin, question, asked: now, started: false, attempt: false, cold, failure: None };
        process.requests.insert(request, open);
        self.tell(node, Input::Request(request, ask));
    }

    /// Is a replica of `slot` ready on any machine where this node's plan has one, or where it knows of one?
    fn is_ready_somewhere(&self, node: usize, slot: &SlotName) -> bool {
        let ready = |holder: &NodeId| {
            let process = self.nodes[self.by_id[holder]].process.as_ref();
            process.and_then(|process| process.engines.get(slot)).is_some_and(|engine| engine.ready)
        };
        let Some(machine) = self.nodes[node].process.as_ref().map(|process| &process.machine) else { return false };
        let replicas = machine.plan().into_iter().flat_map(|plan| &plan.replicas);
        let planned = replicas.filter(|replica| &replica.slot == slot).map(|replica| replica.node);
        planned.chain(machine.table().ready(slot).map(|(holder, _)| holder)).any(|holder| ready(&holder))
    }

    /// The machine chose `to`.
    pub(super) fn dispatch(&mut self, node: usize, request: RequestId, to: usize) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let Some(open) = process.requests.get_mut(&request) else {
            return self.checkers.nonsense(self.now, node, "a request dispatched that has ended");
        };
        open.attempt = true;
        let (slot, question) = (open.question.slot, open.question.clone());
        if to != node {
            return self.call(node, to, Ask::Generate(question), Waiting::Generate(request));
        }
        process.job_next += 1;
        let job = Job { id: process.job_next, request, slot };
        let domain = process.engines.get(&slot).map_or("ram", |engine| &engine.order.memory_domain).to_owned();
        let jobs = process.jobs.entry(domain.clone()).or_default();
        jobs.push_back(job);
        if jobs.len() == 1 {
            self.compute_next(node, &domain);
        }
    }

    /// The engine of a domain's first job begins.
    fn compute_next(&mut self, node: usize, domain: &str) {
        let slow = self.nodes[node].strain.slow;
        loop {
            let Some(process) = self.nodes[node].process.as_mut() else { return };
            let Some(jobs) = process.jobs.get_mut(domain) else { return };
            let Some(job) = jobs.front().cloned() else {
                process.jobs.remove(domain);
                return;
            };
            let ready = process.engines.get(&job.slot).is_some_and(|engine| engine.ready);
            let Some(open) = process.requests.get(&job.request).filter(|_| ready) else {
                jobs.pop_front();
                let message = format!("{} has just left this node's memory", job.slot);
                self.fail_later(node, job.request, Refusal { code: "not_resident", message });
                continue;
            };
            let (prompt_tokens, life) = (open.question.prompt_tokens, process.life);
            let wait = self.first_token_time(node, &job.slot, prompt_tokens).times(slow);
            return self.after(wait, Event::Computed { node, life, job: job.id, first: true });
        }
    }

    /// Prompt tokens and answer tokens a second of the engine of `slot`, by the memory it lives in.
    pub(super) fn speeds(&self, node: usize, slot: &SlotName) -> (u64, u64) {
        let sim = &self.nodes[node];
        let engine = sim.process.as_ref().and_then(|process| process.engines.get(slot));
        let on_gpu = engine.is_some_and(|engine| engine.order.memory_domain != "ram");
        let what = &sim.spec.what;
        let (prompt, answer) = match on_gpu && what.gpu_tokens_per_s > 0 {
            true => (what.gpu_prompt_tokens_per_s, what.gpu_tokens_per_s),
            false => (what.prompt_tokens_per_s, what.tokens_per_s),
        };
        (prompt.max(1), answer.max(1))
    }

    pub(super) fn computed(&mut self, node: usize, life: u64, job: u64, first: bool) {
        let slow = self.nodes[node].strain.slow;
        let Some(process) = self.nodes[node].process.as_mut().filter(|process| process.life == life) else { return };
        let mut fronts =
            process.jobs.iter_mut().filter_map(|(domain, jobs)| Some((domain, jobs.front().cloned()?, jobs)));
        let Some((domain, job, jobs)) = fronts.find(|(_, front, _)| front.id == job) else { return };
        let tokens = process.requests.get(&job.request).map_or(0, |open| open.question.tokens);
        if first {
            let wait = Duration::from_millis(tokens * 1000 / self.speeds(node, &job.slot).1).times(slow);
            self.after(wait, Event::Computed { node, life, job: job.id, first: false });
            return self.request_started(node, job.request);
        }
        jobs.pop_front();
        let domain = domain.clone();
        self.request_ended(node, job.request);
        self.compute_next(node, &domain);
    }

    /// Takes a request's job away; whoever waited behind it is next.
    fn drop_job(&mut self, node: usize, request: RequestId) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let mut free = Vec::new();
        for (domain, jobs) in &mut process.jobs {
            let first = jobs.front().is_some_and(|job| job.request == request);
            jobs.retain(|job| job.request != request);
            free.extend(first.then(|| domain.clone()));
        }
        free.iter().for_each(|domain| self.compute_next(node, domain));
    }

    pub(super) fn request_started(&mut self, node: usize, request: RequestId) {
        let now = self.now;
        let process = self.nodes[node].process.as_mut();
        let Some(open) = process.and_then(|process| process.requests.get_mut(&request)) else { return };
        if std::mem::replace(&mut open.started, true) {
            return;
        }
        let (origin, asked, cold) = (open.origin, open.asked, open.cold);
        self.tell(node, Input::RequestStarted(request));
        match origin {
            Origin::Person { .. } => {
                let wait_ms = now.since(asked).as_millis();
                self.stats.waits_ms.push(wait_ms);
                if cold {
                    self.stats.load_waits_ms.push(wait_ms);
                }
            }
            Origin::Peer { from, link, call } => self.reply(node, from, link, call, Reply::Started),
        }
    }

    /// Takes a request out of the world's book: before its machine is told, so that both agree when the checkers look.
    fn take(&mut self, node: usize, request: RequestId) -> Option<OpenRequest> {
        self.nodes[node].process.as_mut().and_then(|process| process.requests.remove(&request))
    }

    pub(super) fn request_ended(&mut self, node: usize, request: RequestId) {
        if let Some(open) = self.take(node, request) {
            let length = |tokens| u32::try_from(tokens).unwrap_or(u32::MAX);
            let tokens = Tokens { prompt: length(open.question.prompt_tokens), answer: length(open.question.tokens) };
            self.tell(node, Input::RequestAnswered(request, tokens));
            self.closed(node, &open, None);
        }
    }

    /// An attempt failed: the machine says what follows.
    pub(super) fn request_failed(&mut self, node: usize, request: RequestId, refusal: Refusal) {
        let process = self.nodes[node].process.as_mut();
        let Some(open) = process.and_then(|process| process.requests.get_mut(&request)) else { return };
        open.failure = Some(refusal.clone());
        open.attempt = false;
        let retryable = matches!(refusal.code, "not_resident" | "busy" | "engine_failed");
        self.tell(node, Input::RequestFailed { request, refusal, retryable });
    }

    /// The machine refuses a request, or says that its last failure was final.
    pub(super) fn give_up(&mut self, node: usize, request: RequestId, refusal: Option<Refusal>) {
        let Some(open) = self.take(node, request) else {
            return self.checkers.nonsense(self.now, node, "a request refused that has ended");
        };
        let Some(refusal) = refusal.or_else(|| open.failure.clone()) else {
            return self.checkers.nonsense(self.now, node, "a failure called final that never was");
        };
        self.closed(node, &open, Some(refusal));
    }

    /// Says to whoever asked how it ended.
    fn closed(&mut self, node: usize, open: &OpenRequest, failure: Option<Refusal>) {
        match (open.origin, failure) {
            (Origin::Person { session }, None) => self.person_answered(node, session, None),
            (Origin::Person { session }, Some(refusal)) => self.person_answered(node, session, Some(refusal.code)),
            (Origin::Peer { from, link, call }, None) => self.reply(node, from, link, call, Reply::Ended),
            (Origin::Peer { from, link, call }, Some(refusal)) => {
                self.reply(node, from, link, call, Reply::Failed(refusal));
            }
        }
    }

    /// Those who asked from a connection that is gone no longer listen.
    pub(super) fn forget_callers(&mut self, node: usize, peer: usize) {
        let link = self.links.link(node, peer);
        let Some(process) = self.nodes[node].process.as_ref() else { return };
        let gone = process.requests.iter().filter(
            |(_, open)| matches!(open.origin, Origin::Peer { from, link: on, .. } if from == peer && on != link),
        );
        let gone: Vec<RequestId> = gone.map(|(request, _)| *request).collect();
        for request in gone {
            self.take(node, request);
            self.drop_job(node, request);
            self.tell(node, Input::RequestEnded(request, false));
        }
    }

    /// Ready engines of a node die; what they computed fails.
    pub(super) fn engines_die(&mut self, node: usize) {
        let Some(process) = self.nodes[node].process.as_mut() else { return };
        let ready = process.engines.iter().filter(|(_, engine)| engine.ready).map(|(slot, _)| *slot);
        for slot in ready.collect::<Vec<SlotName>>() {
            let Some(process) = self.nodes[node].process.as_mut() else { return };
            process.engines.remove(&slot);
            let jobs: Vec<RequestId> =
                process.jobs.values().flatten().filter(|job| job.slot == slot).map(|job| job.request).collect();
            self.tell(node, Input::ReplicaDied(slot, "its engine was killed".to_owned().into()));
            for request in jobs {
                self.drop_job(node, request);
                let message = "killed".to_owned();
                self.request_failed(node, request, Refusal { code: "engine_failed", message });
            }
        }
    }

    /// A failure that is found at once still reaches the machine as an input of its own.
    fn fail_later(&mut self, node: usize, request: RequestId, refusal: Refusal) {
        let input = Input::RequestFailed { request, refusal, retryable: true };
        self.done_after(node, Duration::from_millis(1), input);
    }
}
