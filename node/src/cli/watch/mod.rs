//! `fednode status --watch` and `fednode transfers --watch`: a calm picture of the federation in a terminal, or lines where there
//! is none. It looks at the node twice a second over the admin socket, says when the node is gone, and goes on when it is back.
//! `scene` is what is known, `draw` and `rows` the picture of it, `terminal` the window and its keys.

mod draw;
mod rows;
mod scene;
mod terminal;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::exit::Failure;
use super::run::Out;
use super::table::COLUMNS;
use super::{admin, transfers, view};
use crate::core::view::State;
use scene::Scene;
pub(in crate::cli) use scene::What;

/// Between two looks at the node.
const LOOK: Duration = Duration::from_millis(500);
/// A node that says nothing for so long is as good as gone.
const ANSWER: Duration = Duration::from_secs(3);
/// Between two tables where no picture can be drawn.
const TABLE: Duration = Duration::from_secs(2);
/// Between two pictures when nobody does anything: ages and silences grow.
const TICK: Duration = Duration::from_secs(1);

type Look = Result<Box<State>, String>;

/// Watches until told to stop; with `until_done` also until no transfer is under way. The first look must succeed: a wrong data
/// directory would otherwise be watched for ever.
pub(super) async fn run(out: Out, data_dir: &Path, what: What, until_done: bool) -> Result<(), Failure> {
    if out.json {
        return Err(Failure::wrong_use("--watch draws for people and --json prints one document; give one of the two"));
    }
    let (_, first) = admin::state(data_dir).await?;
    let scene = Scene::new(what, terminal::wants_colour(), first);
    let looks = look(data_dir.to_owned());
    match terminal::is_there() {
        true => on_screen(scene, looks, until_done).await,
        false => in_lines(out, scene, looks).await,
    }
}

/// Can it be drawn here?
pub(super) fn can_draw() -> bool {
    terminal::is_there()
}

/// Is something still to come? What is paused may wait for a person.
pub(super) fn is_active(state: &State) -> bool {
    state.transfers.iter().any(|transfer| transfer.state != "done" && transfer.state != "paused")
}

/// Looks for as long as anybody listens.
fn look(data_dir: PathBuf) -> mpsc::Receiver<Look> {
    let (tell, looks) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let seen = match tokio::time::timeout(ANSWER, admin::state(&data_dir)).await {
                Ok(Ok((_, state))) => Ok(Box::new(state)),
                Ok(Err(failure)) => Err(failure.to_string()),
                Err(_) => Err(format!("it has accepted the question and said nothing for {} s", ANSWER.as_secs())),
            };
            if tell.send(seen).await.is_err() {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    looks
}

fn take(scene: &mut Scene, begin: Instant, look: Look) -> Vec<String> {
    let now_ms = milliseconds(begin);
    match look {
        Ok(state) => scene.saw(now_ms, *state),
        Err(why) => scene.missed(now_ms, &why),
    }
}

fn milliseconds(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn on_screen(mut scene: Scene, mut looks: mpsc::Receiver<Look>, until_done: bool) -> Result<(), Failure> {
    let broken = |error: std::io::Error| Failure::failed(format!("the terminal cannot be drawn on: {error}"));
    let mut ended = signal(SignalKind::terminate()).map_err(broken)?;
    let mut hung_up = signal(SignalKind::hangup()).map_err(broken)?;
    let mut screen = terminal::Screen::take().map_err(broken)?;
    let mut keys = terminal::keys();
    let begin = Instant::now();
    loop {
        scene.now_ms = milliseconds(begin);
        screen.terminal.draw(|frame| draw::draw(&scene, frame)).map_err(broken)?;
        tokio::select! {
            look = looks.recv() => {
                let Some(look) = look else { return Ok(()) };
                take(&mut scene, begin, look);
                if until_done && !is_active(&scene.state) {
                    return Ok(());
                }
            }
            key = keys.recv() => match key {
                Some(terminal::Key::Redraw) => {}
                Some(terminal::Key::Quit) | None => return Ok(()),
            },
            _ = ended.recv() => return Ok(()),
            _ = hung_up.recv() => return Ok(()),
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Without a terminal: what is there now, then a line for each thing that happens; of transfers a table whenever it differs, but
/// not more often than somebody could read it.
async fn in_lines(out: Out, mut scene: Scene, mut looks: mpsc::Receiver<Look>) -> Result<(), Failure> {
    let begin = Instant::now();
    let first = match scene.what {
        What::Transfers => transfers::all(&scene.state, COLUMNS),
        What::Status => view::status(&scene.state, COLUMNS),
    };
    out.text(&first);
    let (mut shown, mut shown_at) = (first, begin);
    while let Some(look) = looks.recv().await {
        for sentence in take(&mut scene, begin, look) {
            out.text(&format!("{}  {sentence}\n", now_text()));
        }
        if scene.what == What::Status || scene.gone.is_some() || shown_at.elapsed() < TABLE {
            continue;
        }
        let fresh = transfers::all(&scene.state, COLUMNS);
        if fresh != shown {
            out.text(&fresh);
            (shown, shown_at) = (fresh, Instant::now());
        }
    }
    Ok(())
}

/// As in the node's own log: UTC, to the second.
fn now_text() -> String {
    let now = OffsetDateTime::from(SystemTime::now());
    now.replace_nanosecond(0).unwrap_or(now).format(&Rfc3339).unwrap_or_default()
}
