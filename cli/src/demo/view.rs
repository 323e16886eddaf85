//! The live view: one screen, drawn from the [`Model`] alone.

use super::model::{ClientRow, ControlPlane, Model, WorkloadRow};
use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Cell, Paragraph, Row, Table},
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Columns of the table of workloads.
const COLUMNS: usize = 11;
/// Lines of news shown.
const NEWS: usize = 3;

/// Draws everything. `now` is for what is left of certificates.
pub fn draw(frame: &mut Frame<'_>, model: &Model, now: SystemTime) {
    let (clients, workloads) = (model.clients(), model.workloads());
    let height = |rows: usize| Constraint::Length(u16::try_from(rows + 3).unwrap_or(u16::MAX));
    let hints = model.hints.len() * 2;
    let [head, above, below, try_next, news] = Layout::vertical([
        Constraint::Length(1),
        height(clients.len()),
        height(workloads.len()),
        Constraint::Length(u16::try_from(hints + 2).unwrap_or(u16::MAX)),
        Constraint::Fill(1),
    ])
    .areas(frame.area());
    title(frame, head, model);
    client_table(frame, above, &clients);
    workload_table(frame, below, &workloads, now);
    hint_list(frame, try_next, model);
    news_list(frame, news, model);
}

fn title(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let control_plane = match &model.control_plane {
        ControlPlane::Up(pid) => Span::from(format!("control plane: process {pid}")).green(),
        ControlPlane::Down(left) => {
            Span::from(format!("control plane: killed, starts again in {} s", left.as_secs())).red().bold()
        }
        ControlPlane::Coming => Span::from("control plane: starting").yellow(),
    };
    let left = Line::from(vec![
        Span::from("weft demo").bold(),
        Span::from(format!("  {}  {}  ", clock(model.elapsed), model.ground)),
        control_plane,
    ]);
    frame.render_widget(left, area);
    frame.render_widget(Paragraph::new("q or Ctrl-C ends it").alignment(Alignment::Right).dim(), area);
}

fn client_table(frame: &mut Frame<'_>, area: Rect, rows: &[ClientRow]) {
    let header = ["what clients ask", "per s", "requests", "failed", "p50", "p95", "p99", "failures"];
    let widths = [20, 7, 9, 7, 9, 9, 9].map(Constraint::Length);
    let rows = rows.iter().map(|row| {
        let failed = if row.failed > 0 { Style::new().fg(Color::Red).bold() } else { Style::new() };
        Row::new([
            Cell::from(row.target.clone()),
            number(format!("{:.1}", row.rate)),
            number(row.requests.to_string()),
            number(row.failed.to_string()).style(failed),
            number(millis(row.latency[0])),
            number(millis(row.latency[1])),
            number(millis(row.latency[2])),
            Cell::from(row.reasons.clone()).style(failed),
        ])
    });
    let widths = widths.into_iter().chain([Constraint::Fill(1)]);
    render(frame, area, "the load generator, through its own proxy", header, rows, widths);
}

fn workload_table(frame: &mut Frame<'_>, area: Rect, rows: &[WorkloadRow], now: SystemTime) {
    let header = [
        "workload",
        "per s",
        "requests",
        "success",
        "p50 ≤",
        "p95 ≤",
        "p99 ≤",
        "mTLS",
        "open",
        "certificate",
        "speaks",
    ];
    let widths = [12, 7, 9, 8, 9, 9, 9, 6, 5, 12].map(Constraint::Length);
    let rows = rows.iter().map(|row| {
        if let Some(trouble) = &row.trouble {
            let cells = (0..COLUMNS).map(|column| match column {
                0 => Cell::from(row.pod.clone()).red(),
                column if column + 1 == COLUMNS => Cell::from(trouble.clone()).red(),
                _ => number("-".into()),
            });
            return Row::new(cells);
        }
        let mutual = match row.mutual {
            Some(share) if share < 1.0 => Style::new().fg(Color::Yellow),
            _ => Style::new().fg(Color::Green),
        };
        Row::new([
            Cell::from(row.pod.clone()),
            number(format!("{:.1}", row.rate)),
            number(row.requests.to_string()),
            number(percent(row.success)),
            number(millis(row.latency[0])),
            number(millis(row.latency[1])),
            number(millis(row.latency[2])),
            number(percent(row.mutual)).style(mutual),
            number(row.open.to_string()),
            number(left(row.expires, now)),
            Cell::from(row.speaks.clone()).dim(),
        ])
    });
    let widths = widths.into_iter().chain([Constraint::Fill(1)]);
    render(frame, area, "workloads, as their proxies count what comes in", header, rows, widths);
}

fn render<'a, const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    header: [&'static str; N],
    rows: impl Iterator<Item = Row<'a>>,
    widths: impl Iterator<Item = Constraint>,
) {
    let right = |(at, text): (usize, &'static str)| {
        if at == 0 || at + 1 == N { Cell::from(text) } else { number(text.into()) }
    };
    let header =
        Row::new(header.into_iter().enumerate().map(right)).style(Style::new().add_modifier(Modifier::DIM));
    let table = Table::new(rows, widths).header(header).column_spacing(1);
    frame.render_widget(table.block(Block::bordered().title(format!(" {title} "))), area);
}

fn hint_list(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let lines: Vec<_> = model
        .hints
        .iter()
        .flat_map(|(what, command)| {
            [Line::from(what.clone()).dim(), Line::from(format!("  {command}")).cyan()]
        })
        .collect();
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(" try next, in another terminal ")),
        area,
    );
}

fn news_list(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let newest = model.news.iter().rev().take(NEWS);
    let lines: Vec<_> = newest.map(|(at, text)| Line::from(format!("{}  {text}", clock(*at)))).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

fn number(text: String) -> Cell<'static> {
    Cell::from(Line::from(text).alignment(Alignment::Right))
}

/// A latency, with as many digits as say something.
pub fn millis(latency: Option<Duration>) -> String {
    match latency.map(|latency| latency.as_secs_f64() * 1000.0) {
        None => "-".into(),
        Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
        Some(ms) => format!("{ms:.0} ms"),
    }
}

/// A share, rounded down: 100 % only if it is all.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |share| format!("{}%", (share * 1000.0).floor() / 10.0))
}

fn left(expires: Option<u64>, now: SystemTime) -> String {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match expires.map(|expires| expires.checked_sub(now)) {
        None => "-".into(),
        Some(None) => "expired".into(),
        Some(Some(seconds)) if seconds < 120 => format!("{seconds} s"),
        Some(Some(seconds)) if seconds < 7200 => format!("{} min", seconds / 60),
        Some(Some(seconds)) => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

fn clock(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        demo::metrics::Figures,
        load::{Report, Tally},
    };
    use ratatui::{Terminal, backend::TestBackend};
    use std::collections::BTreeMap;

    fn model() -> Model {
        let mut model = Model::default();
        model.ground = "network namespaces".into();
        model.control_plane = ControlPlane::Up(4711);
        model.expect([
            ("shop-0".to_owned(), "HTTP".to_owned()),
            ("feed-0".to_owned(), "WebSocket".to_owned()),
        ]);
        model
            .hints
            .push(("ask the shop".into(), "weft exec client -- curl -s http://shop:8080/whoami".into()));
        let figures = |requests| Figures {
            requests,
            responses: requests,
            successes: requests,
            mutual: requests,
            open: 3,
            expires: 1_000_000 + 86_000,
            ..Figures::default()
        };
        for second in 0..3u32 {
            model.elapsed = Duration::from_secs(second.into());
            model.scraped("shop-0", Ok(figures(u64::from(second) * 50)));
            let tally =
                Tally { requests: u64::from(second) * 50, ok: u64::from(second) * 50, ..Tally::default() };
            let targets = BTreeMap::from([("shop http/1.1".to_owned(), tally)]);
            model.reported(Report { ms: 0, last: false, targets });
        }
        model.scraped("feed-0", Err("does not answer".into()));
        model.tell("a certificate was renewed");
        model
    }

    #[test]
    fn a_screen() {
        let mut terminal = Terminal::new(TestBackend::new(130, 20)).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        terminal.draw(|frame| draw(frame, &model(), now)).unwrap();
        let buffer = terminal.backend().buffer();
        let line =
            |y: u16| (0..130).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        let screen: Vec<String> = (0..20).map(line).collect();
        assert!(
            screen[0].starts_with("weft demo  0:02  network namespaces  control plane: process 4711"),
            "{}",
            screen[0]
        );
        let row = |text: &str| screen.iter().find(|line| line.contains(text)).cloned().unwrap_or_default();
        let words =
            |text: &str| row(text).split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert_eq!(words("shop http/1.1"), "│shop http/1.1 50.0 100 0 - - - │");
        assert_eq!(words("shop-0"), "│shop-0 50.0 100 100% - - - 100% 3 23 h 53 min HTTP │");
        assert!(row("feed-0").contains("does not answer"), "{screen:?}");
        assert!(row("weft exec").contains("curl -s http://shop:8080/whoami"));
        assert!(row("a certificate was renewed").starts_with("0:02"));
    }

    /// However small the terminal is.
    #[test]
    fn a_small_screen_is_no_error() {
        for (width, height) in [(1, 1), (20, 5), (80, 24), (200, 3)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &model(), UNIX_EPOCH)).unwrap();
        }
    }

    #[test]
    fn figures_in_words() {
        assert_eq!(millis(Some(Duration::from_micros(1234))), "1.2 ms");
        assert_eq!(millis(Some(Duration::from_millis(345))), "345 ms");
        assert_eq!(percent(Some(0.9999)), "99.9%");
        assert_eq!(percent(Some(1.0)), "100%");
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert_eq!(left(Some(100), at(90)), "10 s");
        assert_eq!(left(Some(100), at(190)), "expired");
    }
}
