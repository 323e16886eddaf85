//! The picture for README: CPU of both proxies, haproxy's being 1, as bars.

use std::fmt::Write as _;

use super::ratio;
use crate::{
    peers::Peer,
    suite::{Results, WORKLOADS},
};

/// What is in it, with shorter names.
const ROWS: [(&str, &str); 6] = [
    ("h1-c16", "HTTP/1.1, 16 connections"),
    ("h1-rate1000", "HTTP/1.1, 1,000 per second"),
    ("grpc-c8m16", "gRPC, 8 × 16 streams"),
    ("grpc-rate1000", "gRPC, 1,000 per second"),
    ("tcp-down-1", "TCP, bytes"),
    ("connect", "TCP, new connections"),
];

/// In order of the bars, with their colours.
const BARS: [(Peer, &str); 4] =
    [(Peer::Envoy, "#b8b8c8"), (Peer::Haproxy, "#8f9bb3"), (Peer::Weft, "#1f8a70"), (Peer::Relay, "#e3dcc8")];

const WIDTH: f64 = 760.0;
const LEFT: f64 = 200.0;
const BAR: f64 = 13.0;
const GAP: f64 = 18.0;

/// A bar of a row: whose, its colour, how long.
type Bar = (Peer, &'static str, f64);

/// The chart as SVG.
#[must_use]
pub fn chart(results: &Results) -> String {
    let rows: Vec<(&str, Vec<Bar>)> = ROWS
        .iter()
        .filter_map(|(name, title)| {
            let workload = WORKLOADS.iter().find(|w| w.name == *name)?;
            let bars: Vec<_> = BARS
                .iter()
                .filter_map(|(p, colour)| Some((*p, *colour, ratio(results, workload, *p)?)))
                .collect();
            (!bars.is_empty()).then_some((*title, bars))
        })
        .collect();
    let longest = rows.iter().flat_map(|(_, bars)| bars).map(|b| b.2).fold(1.0, f64::max);
    let scale = (WIDTH - LEFT - 60.0) / longest;
    let mut body = String::new();
    let mut y = 64.0;
    for (title, bars) in &rows {
        let middle = y + bars.len() as f64 * BAR / 2.0 + 4.0;
        let _ =
            writeln!(body, r#"<text x="{}" y="{middle:.0}" text-anchor="end">{title}</text>"#, LEFT - 10.0);
        for (peer, colour, value) in bars {
            let (width, end) = (value * scale, LEFT + value * scale + 5.0);
            let (height, text) = (BAR - 2.0, y + BAR - 4.0);
            let weight = if *peer == Peer::Weft { r#" font-weight="bold""# } else { "" };
            let _ = writeln!(
                body,
                r#"<rect x="{LEFT}" y="{y:.0}" width="{width:.1}" height="{height}" fill="{colour}"/><text x="{end:.1}" y="{text:.0}" font-size="10"{weight}>{value:.2}</text>"#,
            );
            y += BAR;
        }
        y += GAP;
    }
    let mut legend = String::new();
    let mut x = LEFT;
    for (peer, colour) in BARS {
        let name = peer.name();
        let _ = writeln!(
            legend,
            r#"<rect x="{x}" y="34" width="11" height="11" fill="{colour}"/><text x="{}" y="44">{name}</text>"#,
            x + 16.0
        );
        x += 125.0;
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0}" font-family="sans-serif" font-size="12" fill="#333">
<rect width="{WIDTH}" height="{y:.0}" fill="#fff"/>
<text x="{LEFT}" y="20" font-size="14" font-weight="bold">CPU of both proxies for the same work (haproxy with mutual TLS = 1; less is better)</text>
{legend}{body}</svg>
"##
    )
}
