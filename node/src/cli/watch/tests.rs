//! The screen, character for character, at 80 and 120 columns; and that no size and no view can break it.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::draw::draw;
use super::scene::{Scene, What};
use crate::cli::golden;
use crate::cli::sample::federation;
use crate::core::view::{MemberView, State};

/// An hour of watching, with the last things that happened.
fn scene(what: What) -> Scene {
    let state = federation();
    let mut before = state.clone();
    before.coordinator.as_mut().expect("a coordinator").epoch = 2;
    before.members.pop();
    before.slots[0].replicas.pop();
    before.slots[1].replicas.clear();
    before.requests.done -= 12;
    let mut scene = Scene::new(what, false, before.clone());
    scene.saw(1_000, before);
    scene.saw(3_590_000, state.clone());
    let mut later = state;
    later.requests.done += 45;
    scene.saw(3_600_000, later);
    scene
}

fn screen(scene: &Scene, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
    terminal.draw(|frame| draw(scene, frame)).expect("drawn");
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width).max(1);
    let rows = buffer.content.chunks(width);
    let line = |row: &[ratatui::buffer::Cell]| row.iter().map(|cell| cell.symbol()).collect::<String>();
    rows.map(|row| format!("{}\n", line(row).trim_end())).collect()
}

#[test]
fn the_whole_federation() {
    golden::check("watch-status", |columns| {
        text(&screen(
            &scene(What::Status),
            u16::try_from(columns).expect("a width"),
            if columns < 100 { 40 } else { 36 },
        ))
    });
}

#[test]
fn a_small_terminal_shows_a_little_of_everything() {
    golden::check_one("watch-status-80x24", &text(&screen(&scene(What::Status), 80, 24)), 80);
}

#[test]
fn what_moves() {
    golden::check("watch-transfers", |columns| {
        text(&screen(&scene(What::Transfers), u16::try_from(columns).expect("a width"), 24))
    });
}

#[test]
fn a_node_that_is_gone() {
    let mut scene = scene(What::Status);
    scene.missed(3_601_000, "no node is running with data directory /data; start one with `fednode up`");
    scene.now_ms = 3_641_000;
    golden::check("watch-gone", |columns| text(&screen(&scene, u16::try_from(columns).expect("a width"), 24)));
    scene.saw(3_700_000, federation());
    let back = text(&screen(&scene, 80, 40));
    assert!(back.contains("the node answers again after 99 s") && !back.contains("has not answered"), "{back}");
}

#[test]
fn a_node_that_knows_nothing() {
    let scene = Scene::new(What::Status, true, State::default());
    golden::check("watch-nothing", |columns| text(&screen(&scene, u16::try_from(columns).expect("a width"), 18)));
}

#[test]
fn no_size_breaks_it() {
    for what in [What::Status, What::Transfers] {
        let scene = scene(what);
        for (width, height) in (0..=130).flat_map(|width| [0, 1, 2, 3, 5, 8, 13, 21, 60].map(|height| (width, height)))
        {
            let buffer = screen(&scene, width, height);
            assert_eq!((buffer.area.width, buffer.area.height), (width, height));
        }
    }
}

#[test]
fn names_from_elsewhere_cannot_write_on_the_terminal() {
    let mut state = federation();
    state.members.push(MemberView { name: "\u{1b}[2J\u{7}".repeat(9), state: "alive".into(), ..MemberView::default() });
    state.slots[0].shortfall = "\u{1b}]0;title\u{7}".to_owned();
    let drawn = text(&screen(&Scene::new(What::Status, true, state), 80, 40));
    assert!(drawn.chars().all(|sign| sign == '\n' || !sign.is_control()), "{drawn:?}");
}

#[test]
fn colours_follow_the_bands_and_stay_away_when_nobody_wants_them() {
    let mut scene = scene(What::Status);
    let plain = screen(&scene, 80, 40);
    assert!(plain.content.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset), "a colour was used");
    scene.colour = true;
    let coloured = screen(&scene, 80, 40);
    assert_eq!(text(&plain), text(&coloured), "colours say nothing that words do not");
    let of = |word: &str| {
        let lines = text(&coloured);
        let row = lines.lines().position(|line| line.contains(word)).expect(word);
        let begin = lines.lines().nth(row).and_then(|line| line.find('%')).expect("a share");
        let column = lines.lines().nth(row).map_or(0, |line| line[..begin].chars().count());
        coloured[(u16::try_from(column).expect("a column"), u16::try_from(row).expect("a row"))].fg
    };
    assert_eq!((of("safe"), of("warning"), of("critical")), (Color::Green, Color::LightRed, Color::Red));
    assert!(plain.content.iter().any(|cell| cell.modifier.contains(Modifier::BOLD)));
}
